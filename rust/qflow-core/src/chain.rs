//! Records and the hash chain that an execution's records form.

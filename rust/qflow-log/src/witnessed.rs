//! The newest head that carries cosignatures: the file `witnessed`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use qflow_core::log::{Checkpoint, VerifierKey};

use crate::error::{LogError, Result, corrupt};
use crate::proofs::{read_note, root_at};
use crate::publish::WITNESSED;
use crate::segment::sync_directory;

/// Read a head that this log signed.
pub fn parse(note: &[u8], vkey: &str) -> Result<Checkpoint> {
    let unproven = |what: String| LogError::Unproven(format!("the head: {what}"));
    let key = VerifierKey::parse(vkey).map_err(|error| unproven(error.to_string()))?;
    Checkpoint::parse(note, &key).map_err(|error| unproven(error.to_string()))
}

/// What was saved before; None when nothing was.
pub fn read(path: &Path, vkey: &str) -> Result<Option<Checkpoint>> {
    let Some(note) = read_note(&path.join(WITNESSED))? else {
        return Ok(None);
    };
    match parse(&note, vkey) {
        Ok(head) => Ok(Some(head)),
        Err(error) => corrupt(format!("{WITNESSED}: {error}")),
    }
}

/// Keep a head: one of this very tree, and not smaller than the one that is there. Durable on
/// return; a crash leaves the one before or this one, whole.
pub fn save(path: &Path, note: &[u8], head: &Checkpoint, vkey: &str) -> Result<()> {
    if root_at(path, head.size)? != head.root {
        return Err(LogError::Unproven(
            "the head is of another history than this log's".into(),
        ));
    }
    if read(path, vkey)?.is_some_and(|before| before.size > head.size) {
        return Err(LogError::Unproven("a larger head was saved before".into()));
    }
    let temporary = path.join("witnessed.new");
    let mut file = File::create(&temporary)?;
    file.write_all(note)?;
    file.sync_data()?;
    fs::rename(&temporary, path.join(WITNESSED))?;
    sync_directory(path)?;
    Ok(())
}

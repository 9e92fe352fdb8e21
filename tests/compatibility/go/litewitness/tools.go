//go:build tools

// Pins the version, and by go.sum the bytes, of a witness that others made.
package tools

import _ "filippo.io/torchwood/cmd/litewitness"

// Verifies the published part of a log folder with the transparency log library of the Go project,
// and nothing of ours: the signed head, every tile and bundle, inclusion, consistency.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight    = 8
	noteBytesMax  = 64 << 10
	sampleDefault = 1000
	// The first line that tlog.ParseTree wants; the origin of our heads stands in its place.
	sumdbOrigin = "go.sum database tree\n"
)

func main() {
	old := flag.String("old", "", "an older signed head, to prove consistency with")
	sample := flag.Int64("sample", sampleDefault, "prove the inclusion of so many records; 0: of all")
	witness := flag.String("witness", "", "verifier key of a witness whose cosignature `witnessed` must carry")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: verifylog [options] LOG-FOLDER VERIFIER-KEY")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *old, *witness, *sample); err != nil {
		fmt.Fprintln(os.Stderr, "NOT verified:", err)
		os.Exit(1)
	}
}

func run(folder, vkey, old, witness string, sample int64) error {
	log, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	tree, err := openHead(filepath.Join(folder, "checkpoint"), log)
	if err != nil {
		return err
	}
	fmt.Printf("head: signed by %s, %d records, root %v\n", log.Name(), tree.N, tree.Hash)
	reader := tlog.TileHashReader(tree, folderTiles(folder))
	leaves, err := checkBundles(folder, tree, reader)
	if err != nil {
		return err
	}
	if err := checkInclusion(tree, reader, leaves, sample); err != nil {
		return err
	}
	if old != "" {
		if err := checkConsistency(tree, reader, old, log); err != nil {
			return err
		}
	}
	if witness != "" {
		return checkWitnessed(tree, reader, folder, log, witness)
	}
	return nil
}

func openHead(path string, verifiers ...note.Verifier) (tlog.Tree, error) {
	text, err := openNote(path, verifiers...)
	if err != nil {
		return tlog.Tree{}, err
	}
	origin, rest, _ := strings.Cut(text, "\n")
	if origin != verifiers[0].Name() {
		return tlog.Tree{}, fmt.Errorf("%s: the origin is %q, the key's name %q", path, origin, verifiers[0].Name())
	}
	return tlog.ParseTree([]byte(sumdbOrigin + rest))
}

// openNote wants a good signature of every verifier.
func openNote(path string, verifiers ...note.Verifier) (string, error) {
	data, err := readAtMost(path, noteBytesMax)
	if err != nil {
		return "", err
	}
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if len(opened.Sigs) != len(verifiers) {
		return "", fmt.Errorf("%s: %d of %d wanted signatures", path, len(opened.Sigs), len(verifiers))
	}
	return opened.Text, nil
}

// checkBundles hashes every entry and compares it with the hash in the tree; it gives all of them.
func checkBundles(folder string, tree tlog.Tree, reader tlog.HashReader) ([]tlog.Hash, error) {
	leaves := make([]tlog.Hash, 0, tree.N)
	for first := int64(0); first < tree.N; first += 1 << tileHeight {
		width := min64(1<<tileHeight, tree.N-first)
		tile := tlog.Tile{H: tileHeight, L: -1, N: first >> tileHeight, W: int(width)}
		data, err := os.ReadFile(filepath.Join(folder, tilePath(tile)))
		if err != nil {
			return nil, err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		inTree, err := reader.ReadHashes(indexes)
		if err != nil {
			return nil, fmt.Errorf("tiles of records %d to %d: %w", first, first+width-1, err)
		}
		for i, want := range inTree {
			entry, rest, err := cutEntry(data)
			if err != nil {
				return nil, fmt.Errorf("record %d: %w", first+int64(i), err)
			}
			if tlog.RecordHash(entry) != want {
				return nil, fmt.Errorf("record %d is not the one that was signed", first+int64(i))
			}
			data = rest
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("bundle %s has %d bytes too many", tilePath(tile), len(data))
		}
		leaves = append(leaves, inTree...)
	}
	fmt.Printf("bundles: %d records have the hashes that the tiles and the head prove\n", tree.N)
	return leaves, nil
}

func cutEntry(data []byte) (entry, rest []byte, err error) {
	if len(data) < 2 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	length := int(binary.BigEndian.Uint16(data))
	if len(data) < 2+length {
		return nil, nil, io.ErrUnexpectedEOF
	}
	return data[2 : 2+length], data[2+length:], nil
}

func checkInclusion(tree tlog.Tree, reader tlog.HashReader, leaves []tlog.Hash, sample int64) error {
	step := int64(1)
	if sample > 0 && tree.N > sample {
		step = (tree.N + sample - 1) / sample
	}
	count := 0
	prove := func(index int64) error {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return fmt.Errorf("no inclusion proof of record %d: %w", index, err)
		}
		count++
		return tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaves[index])
	}
	for index := int64(0); index < tree.N; index += step {
		if err := prove(index); err != nil {
			return err
		}
	}
	if tree.N > 0 && (tree.N-1)%step != 0 {
		if err := prove(tree.N - 1); err != nil {
			return err
		}
	}
	fmt.Printf("inclusion: proven for %d of %d records\n", count, tree.N)
	return nil
}

func checkConsistency(tree tlog.Tree, reader tlog.HashReader, path string, log note.Verifier) error {
	old, err := openHead(path, log)
	if err != nil {
		return err
	}
	if err := checkExtends(tree, reader, old); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Printf("consistency: the head of %d records extends that of %d\n", tree.N, old.N)
	return nil
}

func checkExtends(tree tlog.Tree, reader tlog.HashReader, old tlog.Tree) error {
	if old.N > tree.N {
		return fmt.Errorf("a head of %d records is known, and the log has %d", old.N, tree.N)
	}
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return fmt.Errorf("no consistency proof: %w", err)
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

func checkWitnessed(tree tlog.Tree, reader tlog.HashReader, folder string, log note.Verifier, vkey string) error {
	cosigner, err := newCosigner(vkey)
	if err != nil {
		return err
	}
	head, err := openHead(filepath.Join(folder, "witnessed"), log, cosigner)
	if err != nil {
		return err
	}
	if err := checkExtends(tree, reader, head); err != nil {
		return fmt.Errorf("witnessed: %w", err)
	}
	fmt.Printf("witnessed: %s cosigned the head of %d records\n", cosigner.Name(), head.N)
	return nil
}

// folderTiles reads tiles as C2SP tlog-tiles places them: as tlog does, without the height.
type folderTiles string

func (folder folderTiles) Height() int                     { return tileHeight }
func (folder folderTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder folderTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(folder), tilePath(tile)))
		if err != nil {
			return nil, err
		}
		if len(data) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", tilePath(tile), len(data))
		}
		found[i] = data
	}
	return found, nil
}

func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

func readAtMost(path string, bytesMax int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, bytesMax+1))
	if err == nil && int64(len(data)) > bytesMax {
		err = fmt.Errorf("%s has more than %d bytes", path, bytesMax)
	}
	return data, err
}

func min64(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

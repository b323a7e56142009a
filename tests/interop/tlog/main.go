// Checks a log of idplane with the code that checks Go's checksum database: leaves, root, signature and proofs.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type log struct {
	Key        string
	Checkpoint string
	Earlier    string
	Entries    [][]byte
	Inclusion  []struct {
		Index  int64
		Hashes [][]byte
	}
	Consistency [][]byte
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func tree(text string, verifiers note.Verifiers) tlog.Tree {
	opened, err := note.Open([]byte(text), verifiers)
	check(err)
	var origin, size, root string
	_, err = fmt.Sscanf(opened.Text, "%s\n%s\n%s\n", &origin, &size, &root)
	check(err)
	// Go's own log says where another log's name stands; the rest is alike.
	parsed, err := tlog.ParseTree([]byte("go.sum database tree\n" + size + "\n" + root + "\n"))
	check(err)
	return parsed
}

func hashes(values [][]byte) []tlog.Hash {
	found := make([]tlog.Hash, len(values))
	for i, one := range values {
		copy(found[i][:], one)
	}
	return found
}

func main() {
	var given log
	check(json.NewDecoder(os.Stdin).Decode(&given))
	verifier, err := note.NewVerifier(given.Key)
	check(err)
	verifiers := note.VerifierList(verifier)
	newest, earlier := tree(given.Checkpoint, verifiers), tree(given.Earlier, verifiers)

	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for i, entry := range given.Entries {
		more, err := tlog.StoredHashes(int64(i), entry, reader)
		check(err)
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(given.Entries)), reader)
	check(err)
	if root != newest.Hash || newest.N != int64(len(given.Entries)) {
		check(fmt.Errorf("another root"))
	}
	for _, one := range given.Inclusion {
		leaf := tlog.RecordHash(given.Entries[one.Index])
		check(tlog.CheckRecord(hashes(one.Hashes), newest.N, newest.Hash, one.Index, leaf))
	}
	check(tlog.CheckTree(hashes(given.Consistency), newest.N, newest.Hash, earlier.N, earlier.Hash))
	fmt.Println("sound")
}

package filecopy

import (
	"fmt"
	"os"
	"path/filepath"
)

// A File comes into being as a whole or not at all.
type File struct {
	*os.File
	path string
}

// NewFile makes a file that will be at path once it is committed. Until then it
// has another name beside it.
func NewFile(path string) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".receiving-*")
	if err != nil {
		return nil, err
	}
	return &File{temporary, path}, nil
}

// Commit puts the file in its place, over one that may be there.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), f.path)
}

// Discard removes the file, unless it was committed.
func (f *File) Discard() {
	// Both fail harmlessly after Commit.
	f.Close()
	os.Remove(f.Name())
}

package filecopy

import (
	"os"
	"path/filepath"
	"testing"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFileIsReplacedOnlyOnceItIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{false, true} {
		file, err := NewFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString("new"); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, path); got != "old" {
			t.Errorf("before the end the file holds %q", got)
		}
		if commit {
			if err := file.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		file.Discard()
	}
	if got := contents(t, path); got != "new" {
		t.Errorf("at the end the file holds %q", got)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPlacesWhereNoFileCanBeAreToldAtOnce(t *testing.T) {
	directory := t.TempDir()
	for _, path := range []string{directory, filepath.Join(directory, "missing", "file"), "/dev/null"} {
		if file, err := NewFile(path); err == nil {
			file.Discard()
			t.Errorf("a file can be at %s", path)
		}
	}
}

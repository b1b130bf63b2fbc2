package holepunch_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// build builds a program that uses the package that is at a path, which is to
// fail, and returns what the go command says.
func build(t *testing.T, at string, environment ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes a few seconds")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command: ", err)
	}
	at, err := filepath.Abs(at)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.test\n\ngo 1.19\n\nrequire holepunch.example/holepunch v0.0.0\n\nreplace holepunch.example/holepunch => " + at + "\n",
		"main.go": "package main\n\nimport \"holepunch.example/holepunch\"\n\nfunc main() { println(holepunch.Version()) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "program"))
	command.Dir = dir
	command.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	command.Env = append(command.Env, environment...)
	output, err := command.CombinedOutput()
	if err == nil {
		t.Fatal("it can be built")
	}
	if ctx.Err() != nil {
		t.Fatalf("it took too long: %s", output)
	}
	return string(output)
}

// copyOfPackage returns where a copy of the package is that has no library near
// it, nor anything of it in the build cache.
func copyOfPackage(t *testing.T) string {
	t.Helper()
	elsewhere := filepath.Join(t.TempDir(), "bindings", "go")
	if err := os.MkdirAll(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*.go", "*.h", "go.mod"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(elsewhere, name), readFile(t, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return elsewhere
}

func TestBuildWithoutTheLibraryNamesIt(t *testing.T) {
	if _, err := exec.LookPath("pkg-config"); err != nil {
		t.Skip("there is no pkg-config: ", err)
	}
	output := build(t, copyOfPackage(t), "CGO_ENABLED=1", "PKG_CONFIG_PATH=", "PKG_CONFIG_LIBDIR="+t.TempDir())
	if !strings.Contains(output, "holepunch was not found") && !strings.Contains(output, "'holepunch'") {
		t.Errorf("it does not say what is missing:\n%s", output)
	}
}

func TestBuildWithoutTheLocalLibrarySaysHowToGetIt(t *testing.T) {
	elsewhere := copyOfPackage(t)
	for _, tag := range []string{"holepunch_local", "holepunch_static"} {
		output := build(t, elsewhere, "CGO_ENABLED=1", "GOFLAGS=-tags="+tag)
		if !strings.Contains(output, "libholepunch is not built: run `make build`") {
			t.Errorf("%s: it does not say what is to be done:\n%s", tag, output)
		}
	}
}

func TestBuildWithoutCgoSaysSo(t *testing.T) {
	output := build(t, ".", "CGO_ENABLED=0")
	const name = "package_holepunch_needs_cgo__set_CGO_ENABLED_1_and_install_a_C_compiler"
	var errors []string
	for _, line := range strings.Split(strings.TrimSpace(output), "\n") {
		if !strings.HasPrefix(line, "#") {
			errors = append(errors, line)
		}
	}
	if len(errors) != 1 || !strings.HasSuffix(errors[0], "undefined: "+name) {
		t.Errorf("want one error about %s, got:\n%s", name, output)
	}
}

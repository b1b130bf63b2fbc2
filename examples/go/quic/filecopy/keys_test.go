package filecopy

import (
	"encoding/hex"
	"testing"
)

func seed(t *testing.T, id, role string) string {
	t.Helper()
	private, err := key([]byte(id), role)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(private.Seed())
}

// What HKDF-SHA256 of another implementation gives.
func TestKeysStayTheSame(t *testing.T) {
	for role, want := range map[string]string{
		senderRole:   "fa68dd157a149c52ab8a8210e3e203a3ce6b7183e808b4297e6b3b3f0df130a5",
		receiverRole: "a393ceba050ea5d5ba4aa1d69d9a1b2532188c4358d5a588e02f8920cc83b028",
	} {
		if got := seed(t, "our ID", role); got != want {
			t.Errorf("the key of the %s is %s", role, got)
		}
	}
}

func TestEveryIDAndRoleHasAKeyOfItsOwn(t *testing.T) {
	seen := make(map[string]string)
	for _, id := range []string{"our ID", "our ID ", "another ID", "our ID sender", "\x00", ""} {
		for _, role := range []string{senderRole, receiverRole} {
			key := seed(t, id, role)
			if other, taken := seen[key]; taken {
				t.Errorf("%q has the key of %q", id+"/"+role, other)
			}
			seen[key] = id + "/" + role
		}
	}
}

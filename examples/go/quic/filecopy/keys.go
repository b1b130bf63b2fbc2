package filecopy

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
)

// protocol is offered and required in the TLS handshake (ALPN). A change of the
// format of what is sent needs another one.
const protocol = "holepunch-example-filecopy/1"

// The roles have keys of their own, so that nobody can be made to talk to
// himself.
const (
	senderRole   = "sender"
	receiverRole = "receiver"
)

var errStranger = errors.New("the other side does not know the ID")

// key derives a role's key from the ID; both sides can derive both.
func key(id []byte, role string) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, id, nil, protocol+" "+role, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// tlsConfig lets one role talk to the other, and to nobody else. TLS sees to it
// that each side owns the key in its certificate; what is left to check is that
// it is the right key.
func tlsConfig(id []byte, own, other string) (*tls.Config, error) {
	ownKey, err := key(id, own)
	if err != nil {
		return nil, err
	}
	otherKey, err := key(id, other)
	if err != nil {
		return nil, err
	}
	// TLS wants its keys in certificates, whose other contents nobody reads.
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, ownKey.Public(), ownKey)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{protocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: ownKey}},
		ClientAuth:   tls.RequireAnyClientCert,
		// No authority has signed these certificates. VerifyConnection is what
		// keeps strangers out.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errStranger
			}
			shown, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok || !shown.Equal(otherKey.Public()) {
				return errStranger
			}
			return nil
		},
	}, nil
}

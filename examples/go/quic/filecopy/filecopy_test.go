package filecopy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

var id = []byte("an ID that both sides know")

// bounded is a context with more time than a test needs.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newSocket(t *testing.T) *net.UDPConn {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket
}

func randomBytes(size int) []byte {
	data := make([]byte, size)
	rand.Read(data)
	return data
}

// receiving is a receiver at work.
type receiving struct {
	addr   net.Addr
	path   string
	socket *net.UDPConn
	ended  chan error
	result Result
}

func startReceiving(ctx context.Context, t *testing.T, id []byte) *receiving {
	r := &receiving{socket: newSocket(t), path: filepath.Join(t.TempDir(), "file"), ended: make(chan error, 1)}
	r.addr = r.socket.LocalAddr()
	file, err := NewFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		var err error
		r.result, err = Receive(ctx, r.socket, id, file)
		file.Discard()
		r.ended <- err
	}()
	return r
}

// assertNothingReceived also sees to it that no temporary file stays.
func (r *receiving) assertNothingReceived(t *testing.T) {
	t.Helper()
	if err := <-r.ended; err == nil {
		t.Error("the receiver is content")
	} else {
		t.Log("the receiver:", err)
	}
	r.socket.Close()
	if left, err := os.ReadDir(filepath.Dir(r.path)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCopy(t *testing.T) {
	for _, size := range []int{0, 1, 100_000, 3_000_000} {
		ctx := bounded(t)
		data := randomBytes(size)
		receiver := startReceiving(ctx, t, id)
		sent, err := Send(ctx, newSocket(t), receiver.addr, id, bytes.NewReader(data), int64(size))
		if err != nil {
			t.Fatal(err)
		}
		if err := <-receiver.ended; err != nil {
			t.Fatal(err)
		}
		if want := (Result{int64(size), sha256.Sum256(data)}); sent != want || receiver.result != want {
			t.Errorf("%d bytes: sent %v, received %v, want %v", size, sent, receiver.result, want)
		}
		if got, err := os.ReadFile(receiver.path); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: another file has arrived: %v", size, err)
		}
	}
}

func TestSenderWithAnotherIDIsRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(bounded(t))
	receiver := startReceiving(ctx, t, id)
	_, err := Send(ctx, newSocket(t), receiver.addr, []byte("another ID"), strings.NewReader("text"), 4)
	if !errors.Is(err, errStranger) {
		t.Errorf("the sender's error is %v", err)
	}
	cancel()
	receiver.assertNothingReceived(t)
}

// intruder is TLS of a sender that does not care who the receiver is.
func intruder(t *testing.T, id []byte, own string) *tls.Config {
	config, err := tlsConfig(id, own, receiverRole)
	if err != nil {
		t.Fatal(err)
	}
	config.VerifyConnection = nil
	return config
}

func TestIntruderIsRefusedAndTheSenderStillGetsThrough(t *testing.T) {
	withoutCertificate := intruder(t, id, senderRole)
	withoutCertificate.Certificates = nil
	otherProtocol := intruder(t, id, senderRole)
	otherProtocol.NextProtos = []string{"another/1"}
	ctx := bounded(t)
	receiver := startReceiving(ctx, t, id)
	for name, config := range map[string]*tls.Config{
		"another ID":       intruder(t, []byte("another ID"), senderRole),
		"the wrong role":   intruder(t, id, receiverRole),
		"no certificate":   withoutCertificate,
		"another protocol": otherProtocol,
	} {
		transport := &quic.Transport{Conn: newSocket(t)}
		// A client may believe in the connection until the server has seen its
		// certificate.
		conn, err := transport.Dial(ctx, receiver.addr, config, quicConfig())
		if err == nil {
			var stream *quic.Stream
			if stream, err = conn.OpenStreamSync(ctx); err == nil {
				_, err = stream.Read(make([]byte, 1))
			}
		}
		var refused *quic.TransportError
		if !errors.As(err, &refused) || !refused.Remote || !refused.ErrorCode.IsCryptoError() {
			t.Errorf("%s: %v", name, err)
		}
		transport.Close()
	}
	if _, err := Send(ctx, newSocket(t), receiver.addr, id, strings.NewReader("text"), 4); err != nil {
		t.Error(err)
	}
	if err := <-receiver.ended; err != nil {
		t.Error(err)
	}
}

func TestSenderRefusesAnImpostor(t *testing.T) {
	ctx := bounded(t)
	config, err := tlsConfig([]byte("another ID"), receiverRole, senderRole)
	if err != nil {
		t.Fatal(err)
	}
	config.VerifyConnection = nil
	config.ClientAuth = tls.NoClientCert
	transport := &quic.Transport{Conn: newSocket(t)}
	defer transport.Close()
	if _, err := transport.Listen(config, quicConfig()); err != nil {
		t.Fatal(err)
	}
	_, err = Send(ctx, newSocket(t), transport.Conn.LocalAddr(), id, strings.NewReader("text"), 4)
	if !errors.Is(err, errStranger) {
		t.Errorf("the sender's error is %v", err)
	}
}

// sendRaw sends whatever it likes with the right ID.
func sendRaw(ctx context.Context, t *testing.T, receiver net.Addr, data []byte) error {
	config, err := tlsConfig(id, senderRole, receiverRole)
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: newSocket(t)}
	defer transport.Close()
	conn, err := transport.Dial(ctx, receiver, config, quicConfig())
	if err != nil {
		return err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if _, err := stream.Write(data); err != nil {
		return err
	}
	stream.Close()
	_, err = stream.Read(make([]byte, 1))
	return explain(ctx, err)
}

func TestDamagedFilesAreNotKept(t *testing.T) {
	announced := func(size uint64, content string, sum [sha256.Size]byte) []byte {
		return append(append(binary.BigEndian.AppendUint64(nil, size), content...), sum[:]...)
	}
	right := sha256.Sum256([]byte("text"))
	for name, data := range map[string][]byte{
		"nothing at all":   nil,
		"no content":       announced(1<<40, "", right),
		"impossibly long":  announced(1<<63, "text", right),
		"too short":        announced(5, "text", right),
		"too long":         announced(4, "text!", right),
		"another checksum": announced(4, "text", sha256.Sum256(nil)),
		"no checksum":      announced(4, "text", right)[:12],
		"something after":  append(announced(4, "text", right), 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			receiver := startReceiving(ctx, t, id)
			if err := sendRaw(ctx, t, receiver.addr, data); err == nil || !strings.Contains(err.Error(), "given up") {
				t.Errorf("the sender's error is %v", err)
			}
			receiver.assertNothingReceived(t)
		})
	}
}

func TestSenderWhoseFileShrinksTellsTheReceiver(t *testing.T) {
	ctx := bounded(t)
	receiver := startReceiving(ctx, t, id)
	// More than QUIC sends before the receiver reads, so that it has met the sender.
	const size = 3_000_000
	_, err := Send(ctx, newSocket(t), receiver.addr, id, bytes.NewReader(randomBytes(size)), size+1)
	if err == nil || !strings.Contains(err.Error(), "shrunk") {
		t.Errorf("the sender's error is %v", err)
	}
	receiver.assertNothingReceived(t)
}

func TestCancellationEndsBothSides(t *testing.T) {
	ctx := bounded(t)
	receiver := startReceiving(ctx, t, id)
	sending, cancel := context.WithCancel(ctx)
	endless, writer := io.Pipe()
	go func() {
		writer.Write(randomBytes(1_000_000))
		cancel()
		writer.Write(randomBytes(1_000_000))
		writer.Close()
	}()
	if _, err := Send(sending, newSocket(t), receiver.addr, id, endless, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("the sender's error is %v", err)
	}
	endless.Close()
	receiver.assertNothingReceived(t)
}

func TestNobodyThereIsAnErrorInTime(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	receiver := startReceiving(ctx, t, id)
	silent := newSocket(t)
	if _, err := Send(ctx, newSocket(t), silent.LocalAddr(), id, strings.NewReader("text"), 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the sender's error is %v", err)
	}
	receiver.assertNothingReceived(t)
}

// Package filecopy copies a file over QUIC between two programs that know the
// same ID, over a UDP socket that already reaches the other side.
//
// The sender is the QUIC client. It opens one stream and writes the file's
// length (8 bytes, big endian), its bytes and their SHA-256. The receiver ends
// its half of the stream once the file is in its place.
package filecopy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// handshakeTimeout is how long either side waits for the other to come:
	// both have the hole at nearly the same moment.
	handshakeTimeout = 10 * time.Second
	// silence is after how long the other side is given up.
	silence = 15 * time.Second
	// goodbye is how long the receiver waits for the sender to have heard it.
	goodbye = 2 * time.Second
	// insistence is for how long who fails goes on to answer that it is over.
	insistence = 200 * time.Millisecond
)

// What is told to the other side as the reason of a connection's end.
const (
	codeDone quic.ApplicationErrorCode = iota
	codeFailed
)

// Result is what was copied.
type Result struct {
	Bytes  int64
	SHA256 [sha256.Size]byte
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: silence,
		MaxIdleTimeout:       silence,
		KeepAlivePeriod:      silence / 3,
	}
}

// Send sends size bytes of the file to the receiver at an address.
func Send(ctx context.Context, socket net.PacketConn, receiver net.Addr, id []byte, file io.Reader, size int64) (Result, error) {
	config, err := tlsConfig(id, senderRole, receiverRole)
	if err != nil {
		return Result{}, err
	}
	transport := &quic.Transport{Conn: socket}
	defer transport.Close()
	waiting, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := transport.Dial(waiting, receiver, config, quicConfig())
	if err != nil {
		return Result{}, explain(ctx, err)
	}
	defer closeWhenDone(ctx, conn)()
	result, err := sendOver(ctx, conn, file, size)
	if err != nil {
		giveUp(conn, "the sender has failed")
		return Result{}, explain(ctx, err)
	}
	return result, conn.CloseWithError(codeDone, "")
}

func sendOver(ctx context.Context, conn *quic.Conn, file io.Reader, size int64) (Result, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := binary.Write(stream, binary.BigEndian, uint64(size)); err != nil {
		return Result{}, err
	}
	hash := sha256.New()
	n, err := io.CopyN(io.MultiWriter(stream, hash), file, size)
	if err == io.EOF {
		return Result{}, fmt.Errorf("the file has shrunk from %d to %d bytes", size, n)
	}
	if err != nil {
		return Result{}, err
	}
	result := Result{Bytes: n, SHA256: [sha256.Size]byte(hash.Sum(nil))}
	if _, err := stream.Write(result.SHA256[:]); err != nil {
		return Result{}, err
	}
	if err := stream.Close(); err != nil {
		return Result{}, err
	}
	// Only now is it known that the file has arrived.
	if _, err := stream.Read(make([]byte, 1)); err != io.EOF {
		return Result{}, fmt.Errorf("the receiver has not confirmed: %w", err)
	}
	return result, nil
}

// Receive receives a file and commits it if it is intact.
func Receive(ctx context.Context, socket net.PacketConn, id []byte, file *File) (Result, error) {
	config, err := tlsConfig(id, receiverRole, senderRole)
	if err != nil {
		return Result{}, err
	}
	transport := &quic.Transport{Conn: socket}
	defer transport.Close()
	listener, err := transport.Listen(config, quicConfig())
	if err != nil {
		return Result{}, err
	}
	defer listener.Close()
	waiting, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	// Strangers fail in the handshake and do not show up here.
	conn, err := listener.Accept(waiting)
	if err != nil {
		return Result{}, explain(ctx, err)
	}
	defer closeWhenDone(ctx, conn)()
	result, stream, err := receiveOver(ctx, conn, file)
	if err != nil {
		giveUp(conn, "the receiver has failed")
		return Result{}, explain(ctx, err)
	}
	// The file is there, whatever becomes of the connection; the sender ends it
	// as soon as it has heard so.
	stream.Close()
	select {
	case <-conn.Context().Done():
	case <-time.After(goodbye):
	}
	return result, nil
}

func receiveOver(ctx context.Context, conn *quic.Conn, file *File) (Result, *quic.Stream, error) {
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return Result{}, nil, err
	}
	var size uint64
	if err := binary.Read(stream, binary.BigEndian, &size); err != nil {
		return Result{}, nil, fmt.Errorf("no length has come: %w", err)
	}
	if size > math.MaxInt64 {
		return Result{}, nil, fmt.Errorf("no file has %d bytes", size)
	}
	hash := sha256.New()
	n, err := io.CopyN(io.MultiWriter(file, hash), stream, int64(size))
	if err == io.EOF {
		return Result{}, nil, fmt.Errorf("only %d of %d bytes have come", n, size)
	}
	if err != nil {
		return Result{}, nil, err
	}
	// One byte more than there may be, to tell that this is all.
	sum, err := io.ReadAll(io.LimitReader(stream, sha256.Size+1))
	if err != nil {
		return Result{}, nil, err
	}
	result := Result{Bytes: n, SHA256: [sha256.Size]byte(hash.Sum(nil))}
	if !bytes.Equal(sum, result.SHA256[:]) {
		return Result{}, nil, errors.New("the file's SHA-256 is wrong")
	}
	return result, stream, file.Commit()
}

// closeWhenDone closes a connection when the context ends. The function that it
// returns ends that.
func closeWhenDone(ctx context.Context, conn *quic.Conn) func() {
	stop := context.AfterFunc(ctx, func() { conn.CloseWithError(codeFailed, "canceled") })
	return func() { stop() }
}

// giveUp tells the other side that it is over, again if it goes on: the first
// time is easily lost among all that is on its way.
func giveUp(conn *quic.Conn, reason string) {
	conn.CloseWithError(codeFailed, reason)
	time.Sleep(insistence)
}

// explain puts what has gone wrong in words that need no knowledge of QUIC.
func explain(ctx context.Context, err error) error {
	var ended *quic.ApplicationError
	var broken *quic.TransportError
	var silent *quic.IdleTimeoutError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errStranger):
		return errStranger
	case errors.As(err, &ended) && ended.Remote:
		return fmt.Errorf("the other side has given up: %s", ended.ErrorMessage)
	case errors.As(err, &broken) && broken.Remote && broken.ErrorCode.IsCryptoError():
		return fmt.Errorf("the other side refuses us: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the hole is open, but nobody comes through: is one side the sender and the other the receiver?")
	case errors.As(err, &silent):
		return errors.New("the other side has fallen silent")
	}
	return err
}

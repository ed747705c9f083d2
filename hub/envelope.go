package hub

import (
	"strconv"

	"github.com/pithos-ipc/pithos/wire"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// action is what the envelope of a body asks for.
type action uint8

const (
	actionNone action = iota // unknown ones, and bodies without an action: ignored
	actionOnline
	actionOffline
	actionPublish
	actionUnpublish
	actionMessage
	actionReply
)

// asksHub says that the hub itself is asked for something, by a name that it knows.
func (a action) asksHub() bool { return a >= actionOnline && a <= actionUnpublish }

// String is the name of what the hub is asked for, as a tap shows it.
func (a action) String() string {
	if !a.asksHub() {
		return ""
	}
	return [...]string{"online", "offline", "publish", "unpublish"}[a-actionOnline]
}

const replyPrefix = "response_callback_"

// maxAction is the length in bytes from which on an action with escapes is not looked at.
const maxAction = 256

// What is read from bodies. Everything else passes as it is.
var (
	envelopeKeys = []string{"action", "data"}
	messageKeys  = []string{"remote", "broadcast", "needReply", "timeout", "host",
		"propertyName", "action", "register"}
)

// The places of messageKeys.
const (
	messageRemote = iota
	messageBroadcast
	messageNeedReply
	messageTimeout
	messageHost
	messageProperty
	messageAction
	messageRegister
	numMessageKeys
)

// parseAction reads the action of an envelope; of a reply also the id that it answers.
func parseAction(raw []byte) (action, uint32) {
	if js.KindOf(raw) != js.String {
		return actionNone, 0
	}
	text := raw[1 : len(raw)-1]
	var buf [maxAction]byte
	if len(text) <= maxAction && js.Escaped(text) {
		text = js.AppendString(buf[:0], raw)
	}
	switch string(text) {
	case "PANDORA_HUB_ACTION_MSG_UP":
		return actionMessage, 0
	case "PANDORA_HUB_ACTION_ONLINE_UP":
		return actionOnline, 0
	case "PANDORA_HUB_ACTION_OFFLINE_UP":
		return actionOffline, 0
	case "PANDORA_HUB_ACTION_PUBLISH_UP":
		return actionPublish, 0
	case "PANDORA_HUB_ACTION_UNPUBLISH_UP":
		return actionUnpublish, 0
	}
	if len(text) > len(replyPrefix) && string(text[:len(replyPrefix)]) == replyPrefix {
		if id, ok := parseID(text[len(replyPrefix):]); ok {
			return actionReply, id
		}
	}
	return actionNone, 0
}

// parseID reads an id as it is written, in decimal without a sign or zeros in front.
func parseID(text []byte) (uint32, bool) {
	if len(text) > 10 || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range text {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return uint32(n), n < 1<<32
}

// The beginning of a message on its way down; its end is tail.
const (
	downHead = `{"action":"PANDORA_HUB_ACTION_MSG_DOWN","data":`
	tail     = `}`
)

// appendReplyHead begins the body of a reply to id. What follows is  ,"data":VALUE}  or only  }
// when the package is undefined, for which there is no JSON.
func appendReplyHead(dst []byte, id uint32) []byte {
	dst = append(dst, `{"action":"`+replyPrefix...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	return append(dst, '"')
}

// success is the package that says only that something is done.
const success = `{"success":true}`

func appendSuccess(dst []byte, id uint32) []byte {
	return append(appendReplyHead(dst, id), `,"data":`+success+tail...)
}

// failure is why something was not done, as JavaScript's Error would say it.
type failure struct {
	class string    // that the stack begins with
	code  wire.Code // for native callers; 0: wire.CodeFailed
	named bool      // the class is also in name
	text  []byte    // raw UTF-8, without escapes
}

// appendPackage appends  {"success":false,"error":{"stack":...,"message":...}}  with the keys in
// the order in which JavaScript lists an error's own ones. The stack is its first line.
func (f *failure) appendPackage(dst []byte) []byte {
	dst = append(dst, `{"success":false,"error":`...)
	return append(f.appendError(dst), '}')
}

// appendError appends  {"stack":...,"message":...}.
func (f *failure) appendError(dst []byte) []byte {
	dst = append(dst, `{"stack":"`...)
	dst = append(append(dst, f.class...), ": "...)
	dst = js.AppendEscaped(dst, f.text)
	dst = append(dst, `","message":"`...)
	dst = js.AppendEscaped(dst, f.text)
	dst = append(dst, '"')
	if f.named {
		dst = append(append(dst, `,"name":"`...), f.class...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendFailure appends the body of a reply to id that says why it failed.
func appendFailure(dst []byte, id uint32, f *failure) []byte {
	dst = append(appendReplyHead(dst, id), `,"data":`...)
	return append(f.appendPackage(dst), tail...)
}

// maxShown is how many bytes of a selector an error shows, and maxStringified how long one is at
// most that is shown in its one form, which takes time with the square of the depth.
const (
	maxShown       = 64 << 10
	maxStringified = 1 << 10
)

// appendNotFound appends what Pandora says when nobody matches remote, which is shown as
// JSON.stringify prints it. A long one is shown as it came, or the beginning of it.
func appendNotFound(dst, remote []byte) []byte {
	dst = append(dst, "Cannot found any clients by selector: "...)
	switch n := len(remote); {
	case n == 0:
		return append(dst, "undefined"...)
	case n <= maxStringified:
		return js.AppendStringified(dst, remote)
	case n <= maxShown:
		return append(dst, remote...)
	}
	return append(append(dst, remote[:js.Whole(remote[:maxShown])]...), "..."...)
}

// appendNoProperty appends V8's words for reading a property of undefined or null.
func appendNoProperty(dst, of []byte, property string) []byte {
	dst = append(dst, "Cannot read properties of "...)
	dst = js.AppendToString(dst, of)
	return append(append(append(dst, " (reading '"...), property...), "')"...)
}

// appendBatchHead begins the body of a reply to id that carries the replies of many; what follows
// is a package for each of them, with commas between, and batchTail. host is the message's.
func appendBatchHead(dst []byte, id uint32, host []byte) []byte {
	dst = append(appendReplyHead(dst, id), `,"data":{"success":true`...)
	if len(host) > 0 {
		dst = append(append(dst, `,"remote":`...), host...)
	}
	return append(dst, `,"batchReply":[`...)
}

const batchTail = `]}}`

// appendEntry appends one package of a batch. In a list, undefined becomes null.
func appendEntry(dst []byte, first bool, pkg []byte) []byte {
	if !first {
		dst = append(dst, ',')
	}
	if len(pkg) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, pkg...)
}

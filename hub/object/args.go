package object

import (
	"fmt"
	"sync"

	"github.com/pithos-ipc/pithos/hub/internal/js"
)

// Args are the arguments of one call, checked and taken apart. They are borrowed until the method
// returns.
type Args struct {
	raw     []byte   // all of them, as they came
	items   [][]byte // raw values
	scanner js.Scanner
}

// argsPool keeps Args for the next calls.
type argsPool struct{ pool sync.Pool }

func (p *argsPool) take() *Args {
	if a, ok := p.pool.Get().(*Args); ok {
		return a
	}
	return new(Args)
}

func (p *argsPool) give(a *Args) {
	clear(a.items)
	a.raw = nil
	p.pool.Put(a)
}

// parse reads the payload of a call: a list of arguments, or nothing.
func (a *Args) parse(payload []byte) error {
	a.raw, a.items = payload, a.items[:0]
	if len(payload) == 0 {
		return nil
	}
	if _, err := a.scanner.Scan(payload); err != nil {
		return fmt.Errorf("arguments are not JSON: %w", err)
	}
	list := js.Value(payload)
	switch js.KindOf(list) {
	case js.Array:
	case js.Null:
		return nil
	default:
		return notA(list, "list of arguments", "")
	}
	items := js.ItemsOf(list)
	for {
		item, ok := items.Next()
		if !ok {
			return nil
		}
		a.items = append(a.items, item)
	}
}

// Len is how many arguments there are.
func (a *Args) Len() int { return len(a.items) }

// Raw is argument i as it came, nil when there are not as many. It is borrowed.
func (a *Args) Raw(i int) []byte {
	if i >= len(a.items) {
		return nil
	}
	return a.items[i]
}

// Decode reads argument i into what p points to.
func (a *Args) Decode(i int, p any) error {
	if err := decode(a.Raw(i), p); err != nil {
		return fmt.Errorf("argument %d: %w", i+1, err)
	}
	return nil
}

package etcd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	firstPause = 100 * time.Millisecond
	maxCompare = 100 // keys that one transaction compares; etcd takes 128 by default
	maxLeases  = 16  // of a registration that are remembered
)

// lease is what the keeper knows of the lease.
type lease struct {
	id      clientv3.LeaseID // NoLease: there is none
	ttl     time.Duration    // as granted
	renewed time.Time        // when it was granted or renewed last
}

// keep does all that has to do with the lease, until the registry is closed.
func (r *Registry) keep() {
	pause := firstPause
	for r.ctx.Err() == nil {
		next, refused, err := r.round()
		if (refused != nil || err != nil) && r.ctx.Err() == nil {
			next = pause
			pause = min(2*pause, r.options.TTL/3)
		} else {
			pause = firstPause
		}
		r.tell(refused, err)
		timer := time.NewTimer(next)
		select {
		case <-r.ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tell logs when an outage begins and ends, and lets those go who do not wait for the end of
// trouble.
func (r *Registry) tell(refused, err error) {
	r.mu.Lock()
	r.trouble = errors.Join(refused, err)
	if r.options.Patient {
		for _, g := range r.entries {
			if !g.leaving && (err != nil || g.refused) {
				g.answerLocked(nil)
			}
		}
	}
	r.mu.Unlock()
	was, away := r.away, err != nil
	r.away = away
	switch {
	case r.ctx.Err() != nil:
	case away && !was:
		r.log.Warn("etcd is out of reach, trying on", "endpoints", r.options.Endpoints,
			"error", err)
	case was && !away:
		r.log.Info("etcd is back", "endpoints", r.options.Endpoints)
	}
}

// round does what is due and returns when the next round is, or that etcd is out of reach. refused
// is what etcd answered to entries that it does not take, which holds up no others.
func (r *Registry) round() (next time.Duration, refused, err error) {
	wanting, all := r.due()
	if len(all) == 0 && r.lease.id == clientv3.NoLease {
		return time.Hour, nil, nil // until an entry wakes the keeper
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.patience())
	client, err := r.connect(ctx)
	cancel()
	if err != nil {
		return 0, nil, err
	}
	if r.lease.id != clientv3.NoLease && time.Since(r.lease.renewed) >= r.lease.ttl/3 {
		if err := r.renew(client); err != nil {
			return 0, nil, err
		}
		if wanting, err = r.lost(client); err != nil {
			return 0, nil, err
		}
	}
	if r.lease.id == clientv3.NoLease {
		if err := r.grant(client); err != nil {
			return 0, nil, err
		}
		_, wanting = r.due()
	}
	if refused, err = r.settleAll(client, wanting); err != nil {
		return 0, refused, err
	}
	return time.Until(r.lease.renewed.Add(r.lease.ttl / 3)), refused, nil
}

// settleAll settles each, those last that have met an error before: a put that is never answered
// cannot hold up others for more than a round. err says that the rest has to wait, since etcd does
// not answer, or the lease is lost.
func (r *Registry) settleAll(client *clientv3.Client, wanting []*registration) (refused,
	err error) {
	slices.SortStableFunc(wanting, func(a, b *registration) int {
		return a.failed.Compare(b.failed)
	})
	var errs []error
	for _, g := range wanting {
		err := r.settle(client, g)
		if err == nil {
			g.failed = time.Time{}
			r.accepted(g)
			continue
		}
		g.failed = time.Now()
		if r.lease.id == clientv3.NoLease || unanswered(err) {
			return errors.Join(errs...), err
		}
		r.refused(g, err)
		errs = append(errs, err)
	}
	return errors.Join(errs...), nil
}

// codeOf is the code of etcd's answer, or of its absence.
func codeOf(err error) codes.Code {
	if e := (rpctypes.EtcdError{}); errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// final says whether etcd would answer so again.
func final(err error) bool {
	code := codeOf(err)
	return code == codes.InvalidArgument || code == codes.PermissionDenied
}

// unanswered says whether err is no answer of etcd to what it was asked.
func unanswered(err error) bool {
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// due returns the registrations that want something, and all of them.
func (r *Registry) due() (wanting, all []*registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(r.entries)) {
		g := r.entries[key]
		all = append(all, g)
		if g.stored != g.version || g.leaving {
			wanting = append(wanting, g)
		}
	}
	return wanting, all
}

func (r *Registry) grant(client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.patience())
	defer cancel()
	asked := time.Now()
	granted, err := client.Grant(ctx, r.seconds())
	if err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	r.lease = lease{granted.ID, time.Duration(granted.TTL) * time.Second, asked}
	r.log.Debug("lease granted", "lease", fmt.Sprintf("%x", granted.ID), "ttl", r.lease.ttl)
	return nil
}

// renew asks for one renewal. It uses the call below the client's KeepAliveOnce, which repeats what
// fails without a pause.
func (r *Registry) renew(client *clientv3.Client) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.patience())
	defer cancel()
	asked := time.Now()
	ttl, err := renewOnce(ctx, client, r.lease.id)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound) || err == nil && ttl <= 0:
		r.log.Warn("lease is lost, announcing again", "lease", fmt.Sprintf("%x", r.lease.id))
		r.lease = lease{}
		return nil
	case err != nil:
		return fmt.Errorf("renew lease %x: %w", r.lease.id, err)
	}
	r.lease.ttl, r.lease.renewed = ttl, asked
	return nil
}

func renewOnce(ctx context.Context, c *clientv3.Client, id clientv3.LeaseID) (time.Duration,
	error) {
	leases := pb.NewLeaseClient(c.ActiveConnection())
	stream, err := leases.LeaseKeepAlive(ctx, grpc.WaitForReady(false)) // see atOnce
	if err != nil {
		return 0, rpctypes.Error(err)
	}
	defer stream.CloseSend()
	// of a stream that broke Recv says why
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(id)})
	reply, err := stream.Recv()
	if err != nil {
		return 0, rpctypes.Error(err)
	}
	return time.Duration(reply.TTL) * time.Second, nil
}

// lost returns the registrations whose keys are not under the lease, and those that want something.
func (r *Registry) lost(client *clientv3.Client) ([]*registration, error) {
	wanting, all := r.due()
	for some := range slices.Chunk(all, maxCompare) {
		var whole []clientv3.Cmp
		for _, g := range some {
			if !slices.Contains(wanting, g) {
				whole = append(whole,
					clientv3.Compare(clientv3.LeaseValue(g.key), "=", r.lease.id))
			}
		}
		if len(whole) == 0 || r.lease.id == clientv3.NoLease {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.patience())
		reply, err := client.Txn(ctx).If(whole...).Commit()
		cancel()
		if err != nil {
			return nil, fmt.Errorf("look after %d keys: %w", len(whole), err)
		}
		if !reply.Succeeded {
			wanting = append(wanting, some...) // settle finds which
		}
	}
	return wanting, nil
}

// settle makes the key of a registration what it has to be.
func (r *Registry) settle(client *clientv3.Client, g *registration) error {
	ctx, cancel := context.WithTimeout(r.ctx, r.patience())
	defer cancel()
	r.mu.Lock()
	leaving, version, entry := g.leaving, g.version, g.entry
	r.mu.Unlock()
	if leaving {
		return r.remove(ctx, client, g)
	}
	text, err := encode(entry)
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", g.key, err)
	}
	if !slices.Contains(g.leases, r.lease.id) {
		g.leases = append(g.leases, r.lease.id)
		g.leases = g.leases[max(len(g.leases)-maxLeases, 0):]
	}
	ours, err := g.put(ctx, client, text)
	switch {
	case err != nil:
		if unanswered(err) {
			g.unsure = time.Now()
		}
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			r.lease = lease{}
		}
		return fmt.Errorf("put %s: %w", g.key, err)
	case !ours:
		r.taken(g)
	default:
		r.stored(g, version)
	}
	return nil
}

// put writes the key of g under the latest of its leases, unless another holds it.
func (g *registration) put(ctx context.Context, c *clientv3.Client, text string) (bool, error) {
	lease := g.leases[len(g.leases)-1]
	put := clientv3.OpPut(g.key, text, clientv3.WithLease(lease))
	free := clientv3.Compare(clientv3.CreateRevision(g.key), "=", 0)
	reply, err := c.Txn(ctx).If(free).Then(put).Else(clientv3.OpGet(g.key)).Commit()
	if err != nil || reply.Succeeded {
		return true, err
	}
	there := reply.Responses[0].GetResponseRange().Kvs[0] // in the same revision it is not free
	switch holder := clientv3.LeaseID(there.Lease); {
	case !slices.Contains(g.leases, holder):
		return false, nil
	case holder == lease && string(there.Value) == text:
		return true, nil
	}
	same := clientv3.Compare(clientv3.ModRevision(g.key), "=", there.ModRevision)
	reply, err = c.Txn(ctx).If(same).Then(put).Commit()
	if err == nil && !reply.Succeeded {
		err = errors.New("key has changed meanwhile")
	}
	return true, err
}

// remove deletes the key of g where it is ours, and then g, unless a put of it may still be under
// way: then the next rounds do it again. Of what etcd never took there is nothing to delete.
func (r *Registry) remove(ctx context.Context, client *clientv3.Client, g *registration) error {
	r.mu.Lock()
	leases := g.leases
	if g.neverPut() {
		leases = nil
	}
	r.mu.Unlock()
	for _, id := range leases {
		_, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.LeaseValue(g.key), "=", id)).
			Then(clientv3.OpDelete(g.key)).Commit()
		if err != nil {
			return fmt.Errorf("delete %s: %w", g.key, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g.answerLocked(nil)
	if g.unsure.IsZero() || time.Since(g.unsure) > 2*r.patience() {
		delete(r.entries, g.key)
	}
	return nil
}

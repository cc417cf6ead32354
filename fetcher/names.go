package fetcher

// names watches how much memory the decoder needs for the names of the members
// of all objects that are open, which it keeps to find one that comes twice.
// Only a streamed answer can need much.
type names struct {
	many  func() error
	held  bool // many was called
	sum   int64
	depth [maxDepth + 1]int64 // of each object that is open
	last  int
}

const (
	perName   = 100     // bytes that a name costs beside its own, at most
	fewNames  = 1 << 18 // bytes; covered by stageStream
	mostNames = 16 << 20
)

// add counts the token just read, of length bytes, if it is a member's name.
func (n *names) add(r *reader, length int) error {
	if n == nil {
		return nil // an answer that is whole in memory
	}
	depth := min(r.dec.StackDepth(), maxDepth)
	for ; n.last > depth; n.last-- { // closed since
		n.sum -= n.depth[n.last]
		n.depth[n.last] = 0
	}
	kind, members := r.dec.StackIndex(depth)
	if depth > n.last || members <= 1 {
		n.sum -= n.depth[depth]
		n.depth[depth] = 0
	}
	n.last = depth
	if kind != '{' || members%2 == 0 {
		return nil
	}
	cost := int64(perName + 3*length)
	n.depth[depth] += cost
	n.sum += cost
	if n.sum > mostNames {
		return errMembers
	}
	if n.sum <= fewNames || n.held {
		return nil
	}
	n.held = true
	return n.many()
}

package order

// OutputType is the form of a result (SPEC §2).
type OutputType string

// The forms of a result.
const (
	OutputText OutputType = "text"
	OutputHTML OutputType = "html"
	OutputJSON OutputType = "json"
	OutputCSV  OutputType = "csv"
	OutputURL  OutputType = "url"
	OutputFile OutputType = "file"
)

// MaxInlineText is the longest result text kept on the order itself, in bytes;
// a longer one is kept as a file of the result store (SPEC §6).
const MaxInlineText = 64 << 10

// MaxFiles is the most files that one result may have (SPEC §2).
const MaxFiles = 100

// Result is what a completed order brought.
type Result struct {
	OutputType OutputType
	Text       *string // at most MaxInlineText bytes
	URL        string
	Files      []File
}

// File is one file of a result: kept in the result store (ObjectKey, Size and
// SHA256 are set) or at the seller's (URL is set).
type File struct {
	Filename  string // made safe: no separators, no control characters, at most MaxFilenameBytes
	MIMEType  string // what the seller said, or what the bytes show
	Size      int64  // bytes
	SHA256    string // hex
	ObjectKey string
	URL       string
	// Uploaded: the seller named an object that it had uploaded beforehand,
	// instead of sending the bytes with this answer. It must belong to no other order.
	Uploaded bool
}

// Stored returns the size in bytes of all files kept in the result store.
func (r *Result) Stored() int64 {
	if r == nil {
		return 0
	}
	var n int64
	for i := range r.Files {
		if r.Files[i].ObjectKey != "" {
			n += r.Files[i].Size
		}
	}
	return n
}

// Keys returns the keys of all files kept in the result store.
func (r *Result) Keys() []string {
	if r == nil {
		return nil
	}
	var keys []string
	for i := range r.Files {
		if k := r.Files[i].ObjectKey; k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

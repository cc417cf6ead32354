package fetcher

// field is a member of the answer that poller reads (SPEC §2).
type field uint8

const (
	noField field = iota
	fStatus
	fOrderID
	fProgress
	fMessage
	fETA
	fOutputType
	fResultText
	fResultURL
	fFileBase64
	fFilename
	fMIMEType
	fObjectKey
	fFiles
	fError
	fErrorMessage
	fResult
	numFields
)

// fieldOf finds a member by its name, case included.
func fieldOf(name []byte) field {
	switch string(name) {
	case "status":
		return fStatus
	case "order_id":
		return fOrderID
	case "progress":
		return fProgress
	case "message":
		return fMessage
	case "eta_seconds":
		return fETA
	case "output_type":
		return fOutputType
	case "result_text":
		return fResultText
	case "result_url":
		return fResultURL
	case "file_base64":
		return fFileBase64
	case "filename":
		return fFilename
	case "mime_type":
		return fMIMEType
	case "object_key":
		return fObjectKey
	case "files":
		return fFiles
	case "error":
		return fError
	case "error_message":
		return fErrorMessage
	case "result":
		return fResult
	}
	return noField
}

// place is where in an answer something stands.
type place uint8

const (
	elsewhere place = iota
	atRoot
	inRootArray
	inTop    // the object itself
	inResult // its member result
	inFiles  // the array files of either
	inFile   // one object of it
	atBase64 // a file_base64 of either, or of a file
	atText   // a result_text
)

// child is the place of a value under the member name (if in is an object)
// that begins with first: '{', '[', '"' or anything else.
func (in place) child(name field, first byte) place {
	switch in {
	case atRoot:
		switch first {
		case '{':
			return inTop
		case '[':
			return inRootArray
		}
	case inRootArray:
		if first == '{' {
			return inTop
		}
	case inTop, inResult:
		switch {
		case name == fResult && in == inTop && first == '{':
			return inResult
		case name == fFiles && first == '[':
			return inFiles
		case name == fFileBase64 && first == '"':
			return atBase64
		case name == fResultText && (first == '"' || first == '{' || first == '['):
			return atText
		}
	case inFiles:
		if first == '{' {
			return inFile
		}
	case inFile:
		if name == fFileBase64 && first == '"' {
			return atBase64
		}
	}
	return elsewhere
}

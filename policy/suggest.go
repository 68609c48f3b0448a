package policy

import "strings"

// didYouMean returns `did you mean "x"?` for the candidate nearest to the word
// that was written, or "" when none is near.
func didYouMean(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return `did you mean "` + best + `"?`
	}
	return ""
}

// nearest finds the candidate that has the word as its last dotted part, else
// the one within a third of the word's length in edits.
func nearest(word string, candidates []string) string {
	lower := strings.ToLower(word)
	for _, prefix := range []string{"delta.", "head.", ""} {
		for _, c := range candidates {
			if word != "" && strings.HasPrefix(c, prefix) && strings.HasSuffix(c, "."+lower) {
				return c
			}
		}
	}
	best, least := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := edits(lower, strings.ToLower(c), least); d < least {
			best, least = c, d
		}
	}
	return best
}

// edits is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b, or limit when it is at least that.
func edits(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > maxSuggested || len(b) > maxSuggested {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

// maxSuggested is the longest word for which a near one is looked for.
const maxSuggested = 128

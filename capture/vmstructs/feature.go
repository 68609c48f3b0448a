package vmstructs

import (
	"regexp"
	"strconv"
)

var (
	modernVersion = regexp.MustCompile(`^(\d+)(?:[.+-]|$)`)
	version8      = regexp.MustCompile(`^25\.\d+-b`) // HotSpot 25 is that of JDK 8
)

// Feature tells the JDK's feature number by HotSpot's version, [Facts.Version];
// 0 when it does not say.
func Feature(version string) int {
	if version8.MatchString(version) {
		return 8
	}
	if m := modernVersion.FindStringSubmatch(version); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return 0
}

package proc

import (
	"slices"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for name, c := range map[string]struct {
		jvm       bool
		in, out   string // arguments between blanks
		class     string
		blankArgs []string // in, when arguments hold blanks
	}{
		"sizes and switches": {
			jvm: true, class: "com.example.Main",
			in:  "java -Xmx64m -Xms1G -Xss512k -Xint -server -ea -verbose:gc -Xshare:auto com.example.Main",
			out: "java -Xmx64m -Xms1G -Xss512k -Xint -server -ea -verbose:gc -Xshare:auto com.example.Main",
		},
		"flags": {
			jvm: true, class: "A",
			in:  "java -XX:+UseG1GC -XX:-UsePerfData -XX:MaxDirectMemorySize=1g -XX:MaxRAMPercentage=75.0 -XX:NativeMemoryTracking=summary -XX:HeapDumpPath=/var/dumps -XX:OnOutOfMemoryError=alarm A",
			out: "java -XX:+UseG1GC -XX:-UsePerfData -XX:MaxDirectMemorySize=1g -XX:MaxRAMPercentage=75.0 -XX:NativeMemoryTracking=summary -XX:HeapDumpPath=<path> -XX:OnOutOfMemoryError=<value> A",
		},
		"properties": {
			jvm: true, class: "A",
			in:  "java -Dio.netty.maxDirectMemory=0 -Dio.netty.noPreferDirect=true -Dio.grpc.netty.shaded.io.netty.allocator.type=pooled -Djdk.nio.maxCachedBufferSize=262144 -Dio.netty.tmpdir=/home/bob -Dio.netty.ssl.keyPassword=abc -Ddb.password=s3cret -Durl=jdbc:mysql://bob:pw@db/x -Dplain -Dnot$ok=1 A",
			out: "java -Dio.netty.maxDirectMemory=0 -Dio.netty.noPreferDirect=true -Dio.grpc.netty.shaded.io.netty.allocator.type=pooled -Djdk.nio.maxCachedBufferSize=262144 -Dio.netty.tmpdir=<path> -Dio.netty.ssl.keyPassword=<value> -Ddb.password=<value> -Durl=<url> -Dplain -Dnot$ok=<value> A",
		},
		"paths": {
			jvm: true, class: "app.jar",
			in:  "/opt/jdk/bin/java -cp /a/b.jar:/c -javaagent:/opt/agent.jar=token=abc -agentlib:jdwp=transport=dt_socket,address=5005 -agentpath:/x/y.so -Xlog:gc*:file=/var/log/gc.log -Xloggc:/tmp/gc -Xbootclasspath/a:/x.jar @/etc/args -jar /srv/place/app.jar secret --key=abc -pabc",
			out: "java -cp <path> -javaagent:<path> -agentlib:jdwp=<value> -agentpath:<path> -Xlog:<path> -Xloggc:<path> -Xbootclasspath/a:<path> @<path> -jar app.jar <arg> --key=<value> -p<value>",
		},
		"modules": {
			jvm: true, class: "com.example.Main",
			in:  "java --add-opens java.base/java.nio=ALL-UNNAMED --add-exports=java.base/x=ALL-UNNAMED -p mods -m app/com.example.Main a",
			out: "java --add-opens <path> --add-exports=<path> -p <value> -m com.example.Main <arg>",
		},
		"module with equals": {jvm: true, class: "app.Main", in: "java --module=m/app.Main x", out: "java --module=app.Main <arg>"},
		"source file":        {jvm: true, class: "T.java", in: "java -Xmx1g /home/bob/T.java x", out: "java -Xmx1g T.java <arg>"},
		"class path only":    {jvm: true, class: "", in: "java -cp", out: "java -cp"},
		"jar without a name": {jvm: true, class: "", in: "java -jar", out: "java -jar"},
		"odd class":          {jvm: true, class: "my(class)", in: "java my(class)", out: "java <arg>"},
		"native": {
			in:  "/usr/sbin/mysqld --user=bob --verbose -ppassword -u root --data /var/lib mysql://a:b@c - --",
			out: "mysqld --user=<value> --verbose -p<value> -u <arg> --data <path> <url> - --",
		},
		"title":           {blankArgs: []string{"postgres: bob shop 10.0.0.7(5432) idle"}, out: "<arg>"},
		"options of Go":   {in: "tool -token=abc -n 5 --=x", out: "tool -t<value> -n <arg> --<value>"},
		"native as a JVM": {in: "app -Dpassword=x -Xmx1g", out: "app -D<value> -X<value>"},
	} {
		t.Run(name, func(t *testing.T) {
			args := c.blankArgs
			if args == nil {
				args = strings.Split(c.in, " ")
			}
			got := redact(args, c.jvm)
			if want := strings.Split(c.out, " "); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if len(got) != len(args) {
				t.Errorf("%d arguments became %d", len(args), len(got))
			}
			if c.jvm {
				if class := mainClass(args); class != c.class {
					t.Errorf("main class %q, want %q", class, c.class)
				}
			}
		})
	}
	if got := redact(nil, true); got == nil || len(got) != 0 {
		t.Errorf("no arguments: %v", got)
	}
}

// A marker that stands where values stand must not come out.
func FuzzRedactHidesValues(f *testing.F) {
	const secret = "s3cr3t/V4lue"
	for _, option := range []string{"-Dx=", "-XX:HeapDumpPath=", "--password=", "-p", "-javaagent:", "-Xlog:", "-Xbootclasspath/a:", "-agentlib:jdwp=", "@", ""} {
		f.Add(option, true)
		f.Add(option, false)
	}
	f.Fuzz(func(t *testing.T, option string, jvm bool) {
		for _, args := range [][]string{{"java", option + secret, "Main"}, {"java", "-cp", option + secret, "Main"}, {"java", "Main", option + secret}} {
			got := redact(args, jvm)
			if len(got) != len(args) {
				t.Fatalf("%q became %q", args, got)
			}
			// The last part of a path can be the name of a jar, kept on purpose.
			if strings.Contains(strings.Join(got, " "), "s3cr3t") {
				t.Errorf("%q became %q", args, got)
			}
		}
	})
}

func FuzzParseCommandLine(f *testing.F) {
	f.Add([]byte(hotspotCommand))
	f.Fuzz(func(t *testing.T, text []byte) {
		args := parseCommandLine(text)
		if got := redact(args, isLauncher(args)); len(got) != len(args) {
			t.Errorf("%q became %q", args, got)
		}
		_ = mainClass(args)
	})
}

// A program that runs a JVM of its own, and becomes another program when it
// reads a byte.
#include <jni.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
	JavaVMOption options[] = {{.optionString = "-Xmx64m"}};
	JavaVMInitArgs args = {.version = JNI_VERSION_1_8, .nOptions = 1, .options = options};
	JavaVM *vm;
	JNIEnv *env;
	if (argc < 2 || JNI_CreateJavaVM(&vm, (void **)&env, &args) != JNI_OK)
		return 1;
	// Something to be found: ten direct buffers of the library's own making.
	jclass buffer = (*env)->FindClass(env, "java/nio/ByteBuffer");
	jmethodID allocate = (*env)->GetStaticMethodID(env, buffer, "allocateDirect", "(I)Ljava/nio/ByteBuffer;");
	for (int i = 0; i < 10; i++)
		if (!(*env)->NewGlobalRef(env, (*env)->CallStaticObjectMethod(env, buffer, allocate, 4096)))
			return 1;
	printf("READY\n");
	fflush(stdout);
	char c;
	if (read(0, &c, 1) != 1)
		return 1;
	execv(argv[1], argv + 1);
	return 1;
}

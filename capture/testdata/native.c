#include <jni.h>

/* Global references that Native.java asks for. */

JNIEXPORT jlong JNICALL Java_Native_hold(JNIEnv *env, jclass class, jobject object)
{
	(void)class;
	return (jlong)(*env)->NewGlobalRef(env, object);
}

JNIEXPORT void JNICALL Java_Native_release(JNIEnv *env, jclass class, jlong reference)
{
	(void)class;
	(*env)->DeleteGlobalRef(env, (jobject)reference);
}

package io.netty.buffer;

/** Reads what a pooled buffer takes of its chunk; Netty tells it inside this package only. */
public final class PoolShare {
    private PoolShare() {
    }

    public static long bytes(ByteBuf buffer) {
        return ((PooledByteBuf<?>) buffer).maxLength;
    }
}

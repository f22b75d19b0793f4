// A memcpy for snapshots of a whole state.
#pragma once

#include <cstddef>

namespace trine {

// Writes past the caches. The C library does so only for a piece about as large as a cache; for each smaller one
// the processor reads every line of `to` before overwriting it, which takes half as long again, and the caches lose
// what training had in them.
void streaming_copy(void* to, const void* from, size_t size_bytes);

}  // namespace trine

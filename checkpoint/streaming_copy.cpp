#include "checkpoint/streaming_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace trine {

#ifdef __SSE2__
namespace {

constexpr size_t kLineBytes = 64, kPageBytes = 4096, kPages = 4;

// REQUIRES: `to` is the beginning of a line.
void copy_line(std::byte* to, const std::byte* from) {
  for (size_t i = 0; i < kLineBytes; i += sizeof(__m128i)) {
    const __m128i value = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), value);
  }
}

}  // namespace

void streaming_copy(void* to, const void* from, size_t size_bytes) {
  auto* out = static_cast<std::byte*>(to);
  const auto* in = static_cast<const std::byte*>(from);
  const size_t before = std::min(size_bytes, -reinterpret_cast<uintptr_t>(out) % kLineBytes);
  std::memcpy(out, in, before);
  out += before, in += before, size_bytes -= before;
  // Several pages side by side, as the C library does it: memory has several rows open at a time.
  for (; size_bytes >= kPages * kPageBytes; size_bytes -= kPages * kPageBytes) {
    for (size_t line = 0; line < kPageBytes; line += kLineBytes)
      for (size_t page = 0; page < kPages; ++page)
        copy_line(out + page * kPageBytes + line, in + page * kPageBytes + line);
    out += kPages * kPageBytes, in += kPages * kPageBytes;
  }
  for (; size_bytes >= kLineBytes; size_bytes -= kLineBytes, out += kLineBytes, in += kLineBytes)
    copy_line(out, in);
  _mm_sfence();
  std::memcpy(out, in, size_bytes);
}
#else
void streaming_copy(void* to, const void* from, size_t size_bytes) { std::memcpy(to, from, size_bytes); }
#endif

}  // namespace trine

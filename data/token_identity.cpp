#include "data/token_identity.h"

#include <algorithm>
#include <fmt/core.h>
#include <memory>
#include <new>
#include <vector>
#include <xxhash.h>

namespace trine {
namespace {

constexpr int64_t kHashedWhole = int64_t{1} << 25, kBlocks = 2048, kBlockTokens = 4096;

// Where block i of `count` begins, so that the last one ends with the stream.
int64_t begin_of_block(int64_t i, int64_t count, int64_t size) {
  const int64_t room = size - kBlockTokens;
  // i * room would overflow for streams of 2^53 tokens and more.
  return room / (count - 1) * i + room % (count - 1) * i / (count - 1);
}

}  // namespace

std::string identity_of(const TokenSource& source) {
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  if (!state) throw std::bad_alloc();
  XXH3_64bits_reset(state.get());
  std::vector<int32_t> block(kBlockTokens);
  const auto add = [&](int64_t begin, int64_t count) {
    source.read(begin, count, block.data());
    XXH3_64bits_update(state.get(), block.data(), static_cast<size_t>(count) * sizeof(int32_t));
  };
  const int64_t size = source.size();
  if (size <= kHashedWhole) {
    for (int64_t at = 0; at < size; at += kBlockTokens) add(at, std::min(kBlockTokens, size - at));
  } else {
    for (int64_t i = 0; i < kBlocks; ++i) add(begin_of_block(i, kBlocks, size), kBlockTokens);
  }
  return fmt::format("{} tokens, xxh3 {:016x}", size, XXH3_64bits_digest(state.get()));
}

}  // namespace trine

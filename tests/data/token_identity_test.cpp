#include "data/token_identity.h"

#include <gtest/gtest.h>
#include <numeric>
#include <xxhash.h>

#include "data/datasets.h"
#include "data/token_file.h"
#include "tests/data/token_files.h"

namespace trine {
namespace {

using testing::llm_c_file;
using testing::ScratchFolder;
using testing::write_file;
using testing::write_megatron;

std::vector<int64_t> some_tokens(int64_t count) {
  std::vector<int64_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int64_t>(i * i % 251);
  return tokens;
}

std::string identity_of_files(const std::vector<std::filesystem::path>& files) {
  return identity_of(TokenStream(files, 1000));
}

TEST(TokenIdentity, IsThatOfTheTokensInWhateverFiles) {
  const ScratchFolder folder;
  const std::vector<int64_t> tokens = some_tokens(10'000);
  write_megatron<uint16_t>(folder / "a", tokens, {10'000}, 8);
  const std::string identity = identity_of_files({folder / "a"});
  // The documented form, computed here.
  const std::vector<int32_t> ids(tokens.begin(), tokens.end());
  EXPECT_EQ(identity, fmt::format("10000 tokens, xxh3 {:016x}", XXH3_64bits(ids.data(), ids.size() * 4)));
  std::filesystem::create_directory(folder / "elsewhere");
  write_megatron<int64_t>(folder / "elsewhere/b", tokens, {4, 9'996}, 5);
  write_file(folder / "c.bin", llm_c_file<uint32_t>(20240801, 7, {tokens.begin(), tokens.begin() + 77}));
  write_file(folder / "d.bin", llm_c_file<uint16_t>(20240520, 1, {tokens.begin() + 77, tokens.end()}));
  EXPECT_EQ(identity_of_files({folder / "elsewhere/b"}), identity);
  EXPECT_EQ(identity_of_files({folder / "c.bin", folder / "d.bin"}), identity);
  EXPECT_NE(identity_of_files({folder / "d.bin", folder / "c.bin"}), identity);
}

TEST(TokenIdentity, ChangesWithEveryTokenAndWithTheCut) {
  std::vector<int64_t> tokens = some_tokens(10'000);
  const auto identity = [&](int64_t end) {
    const auto all = std::make_shared<MemoryTokens>(std::vector<int32_t>(tokens.begin(), tokens.end()), "");
    return identity_of(TokenSlice(all, 0, end));
  };
  const std::string whole = identity(10'000);
  EXPECT_EQ(identity(10'000), whole);
  EXPECT_NE(identity(9'999), whole);
  for (const size_t at : {0u, 4095u, 4096u, 5000u, 9999u}) {
    tokens[at] ^= 1;
    EXPECT_NE(identity(10'000), whole) << at;
    tokens[at] ^= 1;
  }
  std::swap(tokens[5], tokens[6]);
  EXPECT_NE(identity(10'000), whole);
}

// Records what is read, of a stream too long to be read.
class LongTokens final : public TokenSource {
 public:
  explicit LongTokens(int64_t size, int64_t changed = -1) : size_(size), changed_(changed) {}
  int64_t size() const override { return size_; }
  void read(int64_t begin, int64_t count, int32_t* out) const override {
    EXPECT_TRUE(0 <= begin && begin + count <= size_) << begin;
    reads.push_back(begin);
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int32_t>((begin + i) % 977 + (begin + i == changed_));
  }
  std::string describe() const override { return "long"; }
  mutable std::vector<int64_t> reads;

 private:
  int64_t size_, changed_;
};

TEST(TokenIdentity, LongStreamsAreReadInBlocksFromEndToEnd) {
  for (const int64_t size : {(int64_t{1} << 25) + 1, int64_t{1} << 40, INT64_MAX}) {
    const LongTokens tokens(size);
    const std::string identity = identity_of(tokens);
    ASSERT_EQ(tokens.reads.size(), 2048u);
    EXPECT_EQ(tokens.reads.front(), 0);
    EXPECT_EQ(tokens.reads.back(), size - 4096);
    for (size_t i = 1; i < tokens.reads.size(); ++i) {
      const auto step = static_cast<double>(tokens.reads[i] - tokens.reads[i - 1]);
      EXPECT_NEAR(step, static_cast<double>(size - 4096) / 2047, static_cast<double>(size) * 1e-3) << i;
    }
    EXPECT_NE(identity_of(LongTokens(size, size - 1)), identity);
    EXPECT_NE(identity_of(LongTokens(size - 1)), identity);
  }
}

}  // namespace
}  // namespace trine

// The index arithmetic of the CUDA kernels, run on the CPU: every element is met exactly once, bins are those of
// the CPU's kernels, parts cover a problem.
#include <array>
#include <cmath>
#include <gmock/gmock.h>
#include <limits>
#include <vector>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/index.h"

namespace trine::cuda {
namespace {

TEST(CudaIndex, PacksNeedAlignedRows) {
  EXPECT_TRUE(in_packs(64, 24, 8, 2));
  EXPECT_FALSE(in_packs(66, 24, 8, 2));   // the address
  EXPECT_FALSE(in_packs(64, 20, 8, 2));   // the second row
  EXPECT_FALSE(in_packs(64, 24, 12, 2));  // the end of a row
  EXPECT_TRUE(in_packs(64, 24, 12, 4));
  EXPECT_EQ(pack_size(2), 8);
  EXPECT_EQ(pack_size(4), 4);
}

TEST(CudaIndex, NormRowsAreAllSummedInFewBlocks) {
  for (int64_t n : {1, 7, 511, 512, 513, 8192, 100000}) {
    const int64_t rows = norm_rows_per_block(n), blocks = ceil_div(n, rows);
    EXPECT_LE(blocks, kNormBlocks) << n;
    EXPECT_GE(blocks * rows, n);
    EXPECT_LT((blocks - 1) * rows, n);
  }
}

// The sums of all columns of a row have slots of their own, next to those of the neighbouring threads.
TEST(CudaIndex, NormSumsHaveTheirOwnSlots) {
  for (int64_t threads : {32, 256})
    for (int64_t width : {4, 8}) {
      const int64_t columns = 3 * threads * width;
      std::vector<int> met(static_cast<size_t>(columns));
      for (int64_t thread = 0; thread < threads; ++thread)
        for (int64_t j = thread * width; j < columns; j += threads * width)
          for (int e = 0; e < width; ++e)
            ++met.at(static_cast<size_t>(norm_sum_slot(j, e, thread, threads, width)));
      EXPECT_THAT(met, testing::Each(1));
      EXPECT_EQ(norm_sum_slot(width, 2, 1, threads, width), norm_sum_slot(0, 2, 0, threads, width) + 1);
    }
}

// Each element of each head's first half, with its angle, and no element twice.
TEST(CudaIndex, RopeItemsCoverHeads) {
  for (int64_t heads : {1, 3})
    for (int64_t head_dim : {2, 6, 16, 24, 128})
      for (int64_t width : {4, 8}) {
        std::vector<int> met(static_cast<size_t>(heads * head_dim));
        for (int64_t i = 0; i < rope_items(heads, head_dim, width); ++i) {
          const RopeItem at = rope_item(i, head_dim, width);
          EXPECT_EQ(at.column % head_dim, at.angle);
          EXPECT_LT(at.angle, head_dim / 2);
          for (int64_t j = 0; j < width && at.angle + j < head_dim / 2; ++j) {
            ++met.at(static_cast<size_t>(at.column + j));
            ++met.at(static_cast<size_t>(at.column + j + head_dim / 2));
          }
        }
        EXPECT_THAT(met, testing::Each(1)) << heads << " heads of " << head_dim << " in packs of " << width;
      }
}

// One block each, so that its sum is the square of its one element: zero, subnormal, all exponents, infinite.
TEST(CudaIndex, BinsAreThoseOfTheCpu) {
  const cpu::SimdFunctions& simd = cpu::simd_functions(cpu::best_isa());
  std::vector<float> elements = {
      0, 1e-22f, 1e-19f, std::numeric_limits<float>::infinity(), 3e30f, std::numeric_limits<float>::quiet_NaN()};
  for (int exponent = -70; exponent < 64; ++exponent) elements.push_back(std::ldexp(1.37f, exponent));
  for (float element : elements) {
    std::array<int64_t, cpu::kNormBins> want{}, got{};
    simd.squared_norm_bins(1, &element, want.data(), {1});
    const BinTerm term = bin_term(element * element);
    got.at(static_cast<size_t>(term.bin)) += term.value;
    EXPECT_EQ(got, want) << element;
  }
  EXPECT_EQ(kNumBins, cpu::kNormBins);
}

TEST(CudaIndex, ScoreItemsCoverTiles) {
  for (int tile : {16, 32}) {
    std::vector<int> met(static_cast<size_t>(tile * tile));
    for (int e = 0; e < tile * tile; ++e) {
      const ScoreItem at = score_item(e, tile);
      ++met.at(static_cast<size_t>(at.query * tile + at.key));
    }
    EXPECT_THAT(met, testing::Each(1));
  }
  // Six tiles, two of scores, in the 99 KiB that an Ada GPU gives to a block.
  for (int head_dim : {32, 64, 65, 128, kMaxHeadDim}) {
    const int tile = attention_tile(head_dim);
    EXPECT_LE(4 * (6 * tile * (head_dim + 1) + 2 * tile * (tile + 1)), 99 * 1024) << head_dim;
  }
}

TEST(CudaIndex, AttentionPartsDivideTheProblemAndKeepTheLimit) {
  for (int64_t batch : {1, 3, 4})
    for (int64_t kv_heads : {1, 6, 8})
      for (int64_t limit : {int64_t{1} << 20, int64_t{1} << 26, int64_t{1} << 40}) {
        const int64_t seq = 1000, heads = 4 * kv_heads;
        const AttentionPart part = attention_part(batch, seq, heads, kv_heads, limit);
        ASSERT_GE(part.sequences, 1);
        ASSERT_GE(part.kv_heads, 1);
        EXPECT_EQ(batch % part.sequences, 0);
        EXPECT_EQ(kv_heads % part.kv_heads, 0);
        EXPECT_TRUE(score_bytes(part.sequences, 4 * part.kv_heads, seq) <= limit ||
                    (part.sequences == 1 && part.kv_heads == 1));
        // What cuDNN keeps of a part is contiguous: some heads are heads of one sequence.
        EXPECT_TRUE(part.kv_heads == kv_heads || part.sequences == 1);
        if (limit == int64_t{1} << 40) {
          EXPECT_EQ(part.sequences, batch);
          EXPECT_EQ(part.kv_heads, kv_heads);
        }
      }
  EXPECT_EQ(score_bytes(2, 3, 65), 2 * 3 * 128 * 128 * 2);
}

TEST(CudaIndex, AlignmentOfAddressAndRows) {
  EXPECT_EQ(alignment_of(256, 512), 64u);
  EXPECT_EQ(alignment_of(256, 48), 16u);
  EXPECT_EQ(alignment_of(6, 64), 2u);
  EXPECT_EQ(alignment_of(0, 1), 1u);
}

}  // namespace
}  // namespace trine::cuda

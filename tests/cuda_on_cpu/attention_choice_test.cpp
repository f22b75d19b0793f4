// What a user hears of attention where cuDNN's cannot be had (no_sdpa.cpp stands for it here).
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/sdpa.h"
#include "ops/attention.h"

namespace trine {
namespace {

cuda::ContextPtr prepare_attention(const KernelOptions& options) {
  const auto context = cuda::make_context(0, options);
  const KernelTable kernels = cuda::make_cuda_kernels(context);
  const Attention op(4, 8);
  const Mesh mesh;
  alignas(16) static std::byte memory[4 * 16 * sizeof(float)];
  const TensorView rows{memory, DType::kBF16, 4, 16, 16}, lse{memory, DType::kF32, 4, 2, 2};
  const TensorType type{DType::kBF16, {4, 16}}, lse_type{DType::kF32, {4, 2}};
  const std::array inputs{rows, rows, rows};
  const std::array outputs{rows, lse};
  const std::vector input_types{type, type, type}, output_types{type, lse_type};
  for (int layer = 0; layer < 2; ++layer)
    kernels.make({op, inputs, outputs, mesh, {}, 1, int64_t{64} << 20, input_types, output_types});
  return context;
}

TEST(AttentionChoice, TheSlowKernelIsSaidOnceWithItsReasonAndWhatToDo) {
  const auto context = prepare_attention({});
  ASSERT_EQ(context->notices.size(), 1u);
  const std::string& notice = *context->notices.begin();
  EXPECT_NE(notice.find("no fused attention"), std::string::npos) << notice;
  EXPECT_NE(notice.find("scripts/cudnn_frontend.sh"), std::string::npos) << notice;
}

TEST(AttentionChoice, PlainIsSilent) {
  EXPECT_TRUE(prepare_attention({.attention = AttentionKind::kPlain})->notices.empty());
}

TEST(AttentionChoice, ADemandThatCannotBeIsAnError) {
  EXPECT_THROW(prepare_attention({.attention = AttentionKind::kCudnn}), ConfigError);
}

struct FakeGraph final : cuda::SdpaGraph {
  explicit FakeGraph(int64_t bytes) : needed(bytes) {}
  int64_t workspace_bytes() const override { return needed; }
  std::string plan() const override { return "fake"; }
  void run(cudaStream_t, std::span<std::byte* const>, std::byte*) override {}
  int64_t needed;
};

TEST(AttentionChoice, AGraphThatNeedsMoreWorkspaceThanThePlanHasIsRefused) {
  std::string why_not;
  const cuda::Sdpa::Answer answer{std::make_unique<FakeGraph>(4096), {}};
  EXPECT_EQ(cuda::usable(answer, 4096, why_not), answer.graph.get());
  EXPECT_EQ(why_not, "");
  EXPECT_EQ(cuda::usable(answer, 4095, why_not), nullptr);
  EXPECT_EQ(why_not, "it needs 4096 bytes of workspace, the plan has 4095");
  EXPECT_EQ(cuda::usable({nullptr, "it refuses"}, 4096, why_not), nullptr);
  EXPECT_EQ(why_not, "it refuses");
}

}  // namespace
}  // namespace trine

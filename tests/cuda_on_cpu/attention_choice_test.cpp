// What a user hears of attention where cuDNN's cannot be had (no_sdpa.cpp stands for it here).
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cuda/context.h"
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

}  // namespace
}  // namespace trine

// The CUDA backend's kernels of collectives, staged through the host's memory (tests/kernels/collective_parity.h).
#include <gtest/gtest.h>

#include "kernels/cuda/cuda_kernels.h"
#include "tests/kernels/collective_parity.h"

namespace trine {
namespace {

KernelTable cuda_kernels() { return cuda::make_cuda_kernels(cuda::make_context(0)); }

class CudaOnCpuCollectives : public testing::TestWithParam<CollectiveCase> {};

TEST_P(CudaOnCpuCollectives, DoWhatThePlacementsSay) {
  for (const int ranks : {2, 3, 4}) {
    SCOPED_TRACE(ranks);
    expect_collective(GetParam(), ranks, cuda_kernels);
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, CudaOnCpuCollectives, testing::ValuesIn(collective_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(CudaOnCpuStates, SendAndReceive) { expect_states_sent(cuda_kernels); }
TEST(CudaOnCpuStates, EnterCopies) { expect_enter_copies(cuda_kernels); }

}  // namespace
}  // namespace trine

// The CPU's kernels of collectives (collective_parity.h).
#include <gtest/gtest.h>

#include "kernels/cpu/cpu_kernels.h"
#include "tests/kernels/collective_parity.h"

namespace trine {
namespace {

KernelTable cpu_kernels() { return cpu::make_cpu_kernels(cpu::best_isa(), 1); }

class CollectiveKernels : public testing::TestWithParam<CollectiveCase> {};

TEST_P(CollectiveKernels, DoWhatThePlacementsSay) {
  for (const int ranks : {2, 3, 4}) {
    SCOPED_TRACE(ranks);
    expect_collective(GetParam(), ranks, cpu_kernels);
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, CollectiveKernels, testing::ValuesIn(collective_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(StateKernels, SendAndReceive) { expect_states_sent(cpu_kernels); }
TEST(StateKernels, EnterCopies) { expect_enter_copies(cpu_kernels); }

}  // namespace
}  // namespace trine

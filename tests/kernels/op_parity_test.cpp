// The CPU's kernels against the f64 reference (parity.h), at each instruction set of this machine, with one and
// with several threads.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <set>

#include "kernels/cpu/cpu_kernels.h"
#include "tests/kernels/parity.h"
#include "tests/ops/op_cases.h"

namespace trine::reference {
namespace {

class CpuMachine final : public Machine {
 public:
  CpuMachine(cpu::Isa isa, int threads, cpu::NativeBf16 bf16 = {})
      : isa_(isa),
        threads_(threads),
        native_bf16_(bf16.products),
        kernels_(cpu::make_cpu_kernels(isa, threads, bf16)) {}
  std::string name() const override {
    return fmt::format("{}, {} threads{}", cpu::name(isa_), threads_, native_bf16_ ? ", native bf16" : "");
  }
  Target target() const override { return threads_; }
  const KernelTable& kernels() const override { return kernels_; }
  bool run(const Kernel& kernel, const KernelCall& call, std::span<Buffer>, int64_t workspace_bytes) override {
    Buffer workspace(workspace_bytes);
    KernelCall with_workspace = call;
    with_workspace.workspace = workspace.span();
    kernel(with_workspace);
    return workspace.guards_hold();
  }

 private:
  cpu::Isa isa_;
  int threads_;
  bool native_bf16_;
  KernelTable kernels_;
};

Machines cpu_machines() {
  Machines machines;
  for (cpu::Isa isa : cpu::available_isas())
    for (int threads : {1, 3}) machines.push_back(std::make_unique<CpuMachine>(isa, threads));
  if (const cpu::Isa best = cpu::available_isas().back(); best == cpu::Isa::kAvx512Bf16)
    machines.push_back(std::make_unique<CpuMachine>(best, 3, cpu::NativeBf16{.products = true, .attention = true}));
  return machines;
}

class OpParity : public testing::TestWithParam<OpAndDType> {};

TEST_P(OpParity, WithTheReference) {
  const auto [op, dtype] = GetParam();
  for (const auto& machine : cpu_machines()) {
    expect_parity(*machine, op, dtype);
    if (HasFailure()) return;
  }
}

class FusedOp : public OpParity {};

TEST_P(FusedOp, GivesTheBitsOfItsPlainOps) {
  const auto [op, dtype] = GetParam();
  for (const auto& machine : cpu_machines()) expect_bits_of_decomposition(*machine, op, dtype);
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpParity, testing::ValuesIn(all_ops()),
                         [](const auto& test) { return name_of(test.param); });
INSTANTIATE_TEST_SUITE_P(Cpu, FusedOp, testing::ValuesIn(fused_ops()),
                         [](const auto& test) { return name_of(test.param); });

// No kernel is forgotten: each is of an op in the table, or below with the test that covers it.
TEST(OpParity, CoversEveryKernel) {
  std::set<std::string> covered = {"squared_norm", "clip_gradients",  // GradientNorm, below
                                   "load_batch", "load_scalars",      // HostInputs, below
                                   // on ranks, tests/kernels/collective_kernels_test.cpp
                                   "enter", "all_reduce", "all_gather", "reduce_scatter", "slice", "pad",
                                   "send_state", "receive_state"};
  for (std::string_view op : ops_with_cases()) covered.insert(std::string(op));
  for (const std::string& op : cpu::make_cpu_kernels(cpu::best_isa(), 1).ops())
    EXPECT_TRUE(covered.contains(op)) << op;
}

TEST(HostInputs, AreCopied) {
  for (const auto& machine : cpu_machines()) expect_host_inputs_copied(*machine);
}

TEST(GradientNorm, IsTheNormOfAllBuckets) {
  for (const auto& machine : cpu_machines()) expect_norm_of_all_buckets(*machine);
}

TEST(GradientNorm, FindsWhatIsNotFinite) {
  for (const auto& machine : cpu_machines()) expect_non_finite_found(*machine);
}

TEST(GradientNorm, HoldsAtItsLimit) {
  for (const auto& machine : cpu_machines()) expect_norm_at_its_limit(*machine);
}

TEST(ValidTokens, AreCountedExactly) { expect_tokens_counted_exactly(*cpu_machines().back()); }

}  // namespace
}  // namespace trine::reference

// Every kernel against the f64 reference, over the one table of op cases: each element type, each instruction set
// of this machine, operands alone, with gaps between rows, side by side, and written over an input. Whatever a
// kernel may not touch must keep its bytes.
#include <cmath>
#include <gmock/gmock.h>
#include <limits>
#include <set>

#include "graph/builder.h"
#include "kernels/cpu/cpu_kernels.h"
#include "ops/batch.h"
#include "ops/optimizer.h"
#include "tests/kernels/operands.h"
#include "tests/ops/op_cases.h"
#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

constexpr const char* kPlacingNames[] = {"alone", "with gaps", "side by side", "in place"};

// How far an output may be from the reference: its own rounding, what the op's intermediate roundings may add, and
// f32 arithmetic on terms of about one, which may cancel.
double allowed_error(const OpCase& c, DType compute, DType out, double want, double max) {
  const auto unit = [](DType dtype) {
    return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-24;  // half an ulp, relative
  };
  const double own = 1.01 * unit(out) * std::abs(want);
  const double inner = (c.low_precision_slack - 1) * unit(compute) * (std::abs(want) + max / 2);
  return own + inner + 4e-6 * max + 1e-7;
}

void run_case(const OpCase& c, DType compute, cpu::Isa isa, Placing placing, int threads,
              const std::vector<Tensor>& values, const std::vector<Tensor>& old, const std::vector<Tensor>& want) {
  SCOPED_TRACE(fmt::format("{}, {}, {}, {} threads", c.name, cpu::name(isa), kPlacingNames[int(placing)], threads));
  const Mesh mesh;
  const Types in = input_types(c), out = infer_types(*c.op, in, mesh);
  Operands operands(c, in, out, placing);
  for (size_t i = 0; i < values.size(); ++i) store(operands.inputs[i], values[i]);
  for (size_t i = 0; i < old.size(); ++i) store(operands.outputs[out.size() - old.size() + i], old[i]);
  const int64_t workspace_bytes = c.op->workspace_bytes(in, out, mesh, threads);
  Buffer workspace(workspace_bytes);
  const KernelTable table = cpu::make_cpu_kernels(isa, threads);
  const Kernel kernel = table.make({*c.op, operands.inputs, operands.outputs, mesh, {}, threads, workspace_bytes});

  std::vector<std::vector<std::byte>> before;
  for (const Buffer& buffer : operands.buffers) before.push_back(buffer.all());
  std::vector<std::vector<std::byte>> outputs_before;
  for (const TensorView& view : operands.outputs) {
    outputs_before.emplace_back(static_cast<size_t>(view.num_elements()) * size_bytes(view.dtype));
    copy_rows(outputs_before.back().data(), view, true);
  }
  kernel({.inputs = operands.inputs,
          .outputs = operands.outputs,
          .workspace = workspace.span(),
          .microbatch = c.microbatch,
          .first_write = c.microbatch == 0});

  for (size_t i = 0; i < out.size(); ++i) {
    const Tensor got = load(operands.outputs[i], out[i].shape);
    double max = 0;
    for (double value : want[i].data) max = std::max(max, std::abs(value));
    for (int64_t j = 0; j < got.size(); ++j)
      if (!(std::abs(got(j) - want[i](j)) <= allowed_error(c, compute, out[i].dtype, want[i](j), max))) {
        ADD_FAILURE() << "output " << i << "[" << j << "] is " << got(j) << ", the reference " << want[i](j)
                      << " (largest " << max << ")";
        break;
      }
  }
  EXPECT_TRUE(workspace.guards_hold()) << "it wrote outside its " << workspace_bytes << " bytes of workspace";
  // With its outputs as they were, nothing has changed.
  for (size_t i = 0; i < out.size(); ++i) copy_rows(outputs_before[i].data(), operands.outputs[i], false);
  for (size_t b = 0; b < before.size(); ++b)
    EXPECT_TRUE(operands.buffers[b].all() == before[b]) << "it wrote outside its outputs, in buffer " << b;
}

using Parameters = std::tuple<std::string_view, DType>;
class OpParity : public testing::TestWithParam<Parameters> {};

TEST_P(OpParity, WithTheReference) {
  const auto [op, dtype] = GetParam();
  int count = 0;
  for (const OpCase& c : op_cases(dtype)) {
    if (c.op->name() != op) continue;
    ++count;
    const std::vector<Tensor> values = make_inputs(c), old = make_states(c);
    const std::vector<Tensor> want = run_op(*c.op, input_types(c), values, old, c.microbatch);
    for (cpu::Isa isa : cpu::available_isas())
      for (int threads : {1, 3}) {
        run_case(c, dtype, isa, Placing::kAlone, threads, values, old, want);
        run_case(c, dtype, isa, Placing::kGaps, threads, values, old, want);
        run_case(c, dtype, isa, Placing::kSideBySide, threads, values, old, want);
        if (!c.op->in_place().empty()) run_case(c, dtype, isa, Placing::kInPlace, threads, values, old, want);
        if (HasFailure()) return;
      }
  }
  EXPECT_GT(count, 0);
}

std::vector<std::string_view> ops_with_cases() {
  std::set<std::string_view> ops;
  for (const OpCase& c : op_cases(DType::kBF16)) ops.insert(c.op->name());
  return {ops.begin(), ops.end()};
}

INSTANTIATE_TEST_SUITE_P(Cpu, OpParity,
                         testing::Combine(testing::ValuesIn(ops_with_cases()),
                                          testing::Values(DType::kF32, DType::kBF16, DType::kF16)),
                         [](const auto& parameters) {
                           return fmt::format("{}_{}", std::get<0>(parameters.param),
                                              name(std::get<1>(parameters.param)));
                         });

// No kernel is forgotten: each is of an op in the table, or below with the test that covers it.
TEST(OpParity, CoversEveryKernel) {
  std::set<std::string> covered = {"squared_norm", "clip_gradients",  // GradientNorm, below
                                   "load_batch", "load_scalars",      // HostInputs, below
                                   // on ranks, tests/kernels/collective_kernels_test.cpp
                                   "enter", "all_reduce", "all_gather", "reduce_scatter", "slice", "pad",
                                   "send_state", "receive_state"};
  for (const OpCase& c : op_cases(DType::kBF16)) covered.insert(std::string(c.op->name()));
  for (const std::string& op : cpu::make_cpu_kernels(cpu::best_isa(), 1).ops())
    EXPECT_TRUE(covered.contains(op)) << op;
}

TensorView view_of(std::vector<float>& values) {
  const int64_t n = std::ssize(values);
  return {reinterpret_cast<std::byte*>(values.data()), DType::kF32, 1, n, n};
}
template <typename T>
TensorView scalar_of(T& value) {
  return {reinterpret_cast<std::byte*>(&value), kDTypeOf<T>, 1, 1, 1};
}
void run_kernel(const KernelTable& table, const Op& op, const std::vector<TensorView>& inputs,
                const std::vector<TensorView>& outputs, const HostStep* host = nullptr) {
  table.make({op, inputs, outputs, Mesh{}, {}, 1, 0})(
      {.inputs = inputs, .outputs = outputs, .workspace = {}, .host = host});
}

TEST(HostInputs, AreCopied) {
  const std::vector<int32_t> ids = {1, 2, 3}, labels = {2, -100, 4};
  std::vector<int32_t> got_ids(3), got_labels(3);
  const HostStep host{.ids = ids, .labels = labels, .lr = 0.5f, .loss_scale = 8};
  const KernelTable table = cpu::make_cpu_kernels(cpu::best_isa(), 1);
  const auto view = [](std::vector<int32_t>& values) {
    return TensorView{reinterpret_cast<std::byte*>(values.data()), DType::kI32, 1, 3, 3};
  };
  run_kernel(table, LoadBatch(3, false), {}, {view(got_ids), view(got_labels)}, &host);
  EXPECT_EQ(got_ids, ids);
  EXPECT_EQ(got_labels, labels);
  float lr = 0, scale = 0;
  run_kernel(table, LoadScalars(), {}, {scalar_of(lr), scalar_of(scale)}, &host);
  EXPECT_EQ(lr, 0.5f);
  EXPECT_EQ(scale, 8);
}

// From gradients of several buckets to the clipping factor, against f64.
TEST(GradientNorm, IsTheNormOfAllBuckets) {
  for (cpu::Isa isa : cpu::available_isas()) {
    const KernelTable table = cpu::make_cpu_kernels(isa, 2);
    for (double magnitude : {1e-12, 1e-3, 1.0, 1e6, 1e15}) {
      double squares = 0;
      std::vector<int64_t> bins(SquaredNorm::kNumBins, 77);  // the first bucket overwrites what a step before left
      const TensorView bins_view{reinterpret_cast<std::byte*>(bins.data()), DType::kI64, 1, SquaredNorm::kNumBins,
                                 SquaredNorm::kNumBins};
      for (int64_t size : {1000, 1, 256, 4097}) {
        std::vector<float> bucket(static_cast<size_t>(size));
        const Tensor values = random_normal({size}, static_cast<uint64_t>(size), magnitude);
        for (int64_t i = 0; i < size; ++i) {
          bucket[static_cast<size_t>(i)] = static_cast<float>(values(i));
          squares += std::pow(static_cast<double>(bucket[static_cast<size_t>(i)]), 2);
        }
        run_kernel(table, SquaredNorm(size == 1000), {view_of(bucket)}, {bins_view});
      }
      float scale = 64, loss = 3, norm = 0, factor = 0;
      int32_t apply = 0, step = 6;
      run_kernel(table, ClipGradients(1.0f), {bins_view, scalar_of(scale), scalar_of(loss)},
                 {scalar_of(norm), scalar_of(factor), scalar_of(apply), scalar_of(step)});
      const double want = std::sqrt(squares) / 64;
      EXPECT_NEAR(norm, want, 1e-6 * want) << cpu::name(isa) << " " << magnitude;
      EXPECT_NEAR(factor, std::min(1.0, 1 / (want + 1e-6)) / 64, 1e-6 / 64);
      EXPECT_EQ(apply, 1);
      EXPECT_EQ(step, 7);
    }
  }
}

TEST(GradientNorm, FindsWhatIsNotFinite) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (cpu::Isa isa : cpu::available_isas())
    for (auto [bad, bad_loss] :
         {std::pair<float, float>{kInf, 1}, {-kInf, 1}, {kNan, 1}, {1, kNan}, {1, kInf}, {1, 1}}) {
      const KernelTable table = cpu::make_cpu_kernels(isa, 1);
      std::vector<float> bucket(300, 1.0f);
      bucket[277] = bad;
      std::vector<int64_t> bins(SquaredNorm::kNumBins);
      const TensorView bins_view{reinterpret_cast<std::byte*>(bins.data()), DType::kI64, 1, SquaredNorm::kNumBins,
                                 SquaredNorm::kNumBins};
      float scale = 2, loss = bad_loss, norm = 0, factor = 0;
      int32_t apply = 9, step = 6;
      run_kernel(table, SquaredNorm(true), {view_of(bucket)}, {bins_view});
      run_kernel(table, ClipGradients(0.0f), {bins_view, scalar_of(scale), scalar_of(loss)},
                 {scalar_of(norm), scalar_of(factor), scalar_of(apply), scalar_of(step)});
      const bool finite = bad == 1 && bad_loss == 1;
      EXPECT_EQ(apply, finite) << cpu::name(isa) << " " << bad << " " << bad_loss;
      EXPECT_EQ(step, finite ? 7 : 6);
    }
}

}  // namespace
}  // namespace trine::reference

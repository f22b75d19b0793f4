#include "tests/kernels/parity.h"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>
#include <limits>
#include <set>

#include "graph/builder.h"
#include "ops/batch.h"
#include "ops/optimizer.h"
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

void expect_near_reference(const OpCase& c, DType compute, const TensorView& view, const TensorType& type,
                           const Tensor& want, size_t output) {
  const Tensor got = load(view, type.shape);
  double max = 0;
  for (double value : want.data) max = std::max(max, std::abs(value));
  for (int64_t j = 0; j < got.size(); ++j)
    if (!(std::abs(got(j) - want(j)) <= allowed_error(c, compute, type.dtype, want(j), max))) {
      ADD_FAILURE() << "output " << output << "[" << j << "] is " << got(j) << ", the reference " << want(j)
                    << " (largest " << max << ")";
      return;
    }
}

void run_case(Machine& machine, const OpCase& c, DType compute, Placing placing, const std::vector<Tensor>& values,
              const std::vector<Tensor>& old, const std::vector<Tensor>& want) {
  SCOPED_TRACE(fmt::format("{}, {}, {}", c.name, machine.name(), kPlacingNames[int(placing)]));
  const Mesh mesh;
  const Types in = input_types(c), out = infer_types(*c.op, in, mesh);
  Operands operands(c, in, out, placing);
  for (size_t i = 0; i < values.size(); ++i) store(operands.inputs[i], values[i]);
  for (size_t i = 0; i < old.size(); ++i) store(operands.outputs[out.size() - old.size() + i], old[i]);
  const Target target = machine.target();
  int64_t workspace_bytes = c.op->workspace_bytes(in, out, mesh, target), used = 0;
  KernelRequest request{*c.op, operands.inputs, operands.outputs, mesh, {}, target.threads, workspace_bytes};
  request.workspace_used = &used;
  const Kernel kernel = machine.kernels().make(request);
  if (used > 0) workspace_bytes = used;  // it says so, and gets no more

  std::vector<std::vector<std::byte>> before;
  for (const Buffer& buffer : operands.buffers) before.push_back(buffer.all());
  std::vector<std::vector<std::byte>> outputs_before;
  for (const TensorView& view : operands.outputs) {
    outputs_before.emplace_back(static_cast<size_t>(view.num_elements()) * size_bytes(view.dtype));
    copy_rows(outputs_before.back().data(), view, true);
  }
  const bool guards_hold = machine.run(kernel,
                                       {.inputs = operands.inputs,
                                        .outputs = operands.outputs,
                                        .workspace = {},
                                        .microbatch = c.microbatch,
                                        .first_write = c.microbatch == 0},
                                       operands.buffers, workspace_bytes);

  for (size_t i = 0; i < out.size(); ++i)
    expect_near_reference(c, compute, operands.outputs[i], out[i], want[i], i);
  EXPECT_TRUE(guards_hold) << "it wrote outside its " << workspace_bytes << " bytes of workspace";
  // With its outputs as they were, nothing has changed.
  for (size_t i = 0; i < out.size(); ++i) copy_rows(outputs_before[i].data(), operands.outputs[i], false);
  for (size_t b = 0; b < before.size(); ++b)
    EXPECT_TRUE(operands.buffers[b].all() == before[b]) << "it wrote outside its outputs, in buffer " << b;
}

// The graph of an op's plain ops, on inputs that are states.
struct Decomposition {
  Graph graph;
  std::vector<ValueId> inputs, outputs;

  Decomposition(const Op& op, const Types& in) {
    Builder builder{Mesh{}};
    for (size_t i = 0; i < in.size(); ++i)
      inputs.push_back(builder.read(builder.add_state({.name = fmt::format("in{}", i), .type = in[i]})));
    outputs = op.decompose(builder, inputs);
    graph = builder.finish();
  }
};

std::vector<OpAndDType> in_each_dtype(const std::vector<std::string_view>& ops) {
  std::vector<OpAndDType> all;
  for (std::string_view op : ops)
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) all.emplace_back(op, dtype);
  return all;
}

std::vector<std::byte> bytes_of(const TensorView& view) {
  std::vector<std::byte> bytes(static_cast<size_t>(view.num_elements()) * size_bytes(view.dtype));
  copy_rows(bytes.data(), view, true);
  return bytes;
}

// Operands that a test fills by itself, each in its own buffer.
class Values {
 public:
  // REQUIRES: no more than kMax are added; views stay valid so long.
  static constexpr size_t kMax = 16;
  Values() { buffers_.reserve(kMax); }

  template <typename T>
  TensorView add(const std::vector<T>& values) {
    TRINE_CHECK(buffers_.size() < kMax, "no more than {}", kMax);
    const int64_t n = std::ssize(values), bytes = n * static_cast<int64_t>(sizeof(T));
    std::memcpy(buffers_.emplace_back(bytes).data(), values.data(), static_cast<size_t>(bytes));
    return {buffers_.back().data(), kDTypeOf<T>, 1, n, n};
  }
  void run(Machine& machine, const Op& op, const std::vector<TensorView>& inputs,
           const std::vector<TensorView>& outputs, const HostStep* host = nullptr) {
    const Kernel kernel = machine.kernels().make({op, inputs, outputs, Mesh{}, {}, machine.target().threads, 0});
    EXPECT_TRUE(
        machine.run(kernel, {.inputs = inputs, .outputs = outputs, .workspace = {}, .host = host}, buffers_, 0));
  }

 private:
  std::vector<Buffer> buffers_;
};

template <typename T>
T value(const TensorView& view) {
  return *view.as<const T>();
}
template <typename T>
std::vector<T> all(const TensorView& view) {
  return {view.as<const T>(), view.as<const T>() + view.num_elements()};
}

}  // namespace

std::vector<std::string_view> ops_with_cases() {
  std::set<std::string_view> ops;
  for (const OpCase& c : op_cases(DType::kBF16)) ops.insert(c.op->name());
  return {ops.begin(), ops.end()};
}

void expect_parity(Machine& machine, std::string_view op, DType dtype) {
  int count = 0;
  for (const OpCase& c : op_cases(dtype)) {
    if (c.op->name() != op) continue;
    ++count;
    const std::vector<Tensor> values = make_inputs(c), old = make_states(c);
    const std::vector<Tensor> want = run_op(*c.op, input_types(c), values, old, c.microbatch);
    for (Placing placing : {Placing::kAlone, Placing::kGaps, Placing::kSideBySide, Placing::kInPlace}) {
      if (placing == Placing::kInPlace && c.op->in_place().empty()) continue;
      run_case(machine, c, dtype, placing, values, old, want);
      if (testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(count, 0);
}

std::vector<OpAndDType> all_ops() { return in_each_dtype(ops_with_cases()); }

std::vector<OpAndDType> fused_ops() {
  std::set<std::string_view> ops;
  for (const OpCase& c : op_cases(DType::kBF16))
    if (!Decomposition(*c.op, input_types(c)).outputs.empty()) ops.insert(c.op->name());
  return in_each_dtype({ops.begin(), ops.end()});
}

std::string name_of(const OpAndDType& parameters) {
  return fmt::format("{}_{}", std::get<0>(parameters), name(std::get<1>(parameters)));
}

void expect_bits_of_decomposition(Machine& machine, std::string_view op, DType dtype) {
  for (const OpCase& c : op_cases(dtype)) {
    if (c.op->name() != op) continue;
    SCOPED_TRACE(fmt::format("{}, {}", c.name, machine.name()));
    const Types in = input_types(c), out = infer_types(*c.op, in, Mesh{});
    const Decomposition plain(*c.op, in);
    std::vector<Buffer> buffers;
    buffers.reserve(plain.graph.values().size() + out.size());
    const auto allocate = [&](const TensorType& type) -> TensorView {
      const Shape& shape = type.shape;
      const int64_t columns = shape.num_columns(), rows = shape.num_dims() == 1 ? 1 : shape.num_rows();
      return {buffers.emplace_back(shape.num_elements() * int64_t(size_bytes(type.dtype))).data(), type.dtype, rows,
              columns, columns};
    };
    std::vector<TensorView> views, outputs;
    for (const Value& value : plain.graph.values()) views.push_back(allocate(value.type));
    for (const TensorType& type : out) outputs.push_back(allocate(type));
    const auto view = [&](ValueId value) { return views[static_cast<size_t>(value.index)]; };
    const std::vector<Tensor> values = make_inputs(c);
    for (size_t i = 0; i < in.size(); ++i) store(view(plain.inputs[i]), values[i]);

    const auto run = [&](const Op& one, const Types& in_types, const Types& out_types,
                         const std::vector<TensorView>& from, const std::vector<TensorView>& to) {
      const Target target = machine.target();
      const int64_t workspace = one.workspace_bytes(in_types, out_types, Mesh{}, target);
      machine.run(machine.kernels().make({one, from, to, Mesh{}, {}, target.threads, workspace}),
                  {.inputs = from, .outputs = to, .workspace = {}}, buffers, workspace);
    };
    for (const Node& node : plain.graph.nodes()) {
      std::vector<TensorView> from, to;
      for (ValueId input : node.inputs) from.push_back(view(input));
      for (ValueId output : node.outputs) to.push_back(view(output));
      run(*node.op, plain.graph.input_types(node), plain.graph.output_types(node), from, to);
    }
    run(*c.op, in, out, {views.begin(), views.begin() + std::ssize(in)}, outputs);
    ASSERT_EQ(plain.outputs.size(), out.size());
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(plain.graph[plain.outputs[i]].type, out[i]);
      EXPECT_TRUE(bytes_of(outputs[i]) == bytes_of(view(plain.outputs[i]))) << "output " << i;
    }
  }
}

void expect_host_inputs_copied(Machine& machine) {
  const std::vector<int32_t> ids = {1, 2, 3}, labels = {2, -100, 4};
  const HostStep host{.ids = ids, .labels = labels, .lr = 0.5f, .loss_scale = 8};
  Values values;
  const TensorView got_ids = values.add<int32_t>({0, 0, 0}), got_labels = values.add<int32_t>({0, 0, 0});
  values.run(machine, LoadBatch(3, false), {}, {got_ids, got_labels}, &host);
  EXPECT_EQ(all<int32_t>(got_ids), ids);
  EXPECT_EQ(all<int32_t>(got_labels), labels);
  const TensorView lr = values.add<float>({0}), scale = values.add<float>({0});
  values.run(machine, LoadScalars(), {}, {lr, scale}, &host);
  EXPECT_EQ(value<float>(lr), 0.5f);
  EXPECT_EQ(value<float>(scale), 8);
}

void expect_norm_of_all_buckets(Machine& machine) {
  for (double magnitude : {1e-12, 1e-3, 1.0, 1e6, 1e15}) {
    Values values;
    double squares = 0;
    // The first bucket overwrites what a step before left.
    const TensorView bins = values.add(std::vector<int64_t>(SquaredNorm::kNumBins, 77));
    for (int64_t size : {1000, 1, 256, 4097}) {
      std::vector<float> bucket(static_cast<size_t>(size));
      const Tensor normal = random_normal({size}, static_cast<uint64_t>(size), magnitude);
      for (int64_t i = 0; i < size; ++i) {
        bucket[static_cast<size_t>(i)] = static_cast<float>(normal(i));
        squares += std::pow(static_cast<double>(bucket[static_cast<size_t>(i)]), 2);
      }
      values.run(machine, SquaredNorm(size == 1000), {values.add(bucket)}, {bins});
    }
    const TensorView norm = values.add<float>({0}), factor = values.add<float>({0}),
                     apply = values.add<int32_t>({0}), step = values.add<int32_t>({6});
    values.run(machine, ClipGradients(1.0f), {bins, values.add<float>({64}), values.add<float>({3})},
               {norm, factor, apply, step});
    const double want = std::sqrt(squares) / 64;
    EXPECT_NEAR(value<float>(norm), want, 1e-6 * want) << machine.name() << " " << magnitude;
    EXPECT_NEAR(value<float>(factor), std::min(1.0, 1 / (want + 1e-6)) / 64, 1e-6 / 64);
    EXPECT_EQ(value<int32_t>(apply), 1);
    EXPECT_EQ(value<int32_t>(step), 7);
  }
}

void expect_norm_at_its_limit(Machine& machine) {
  // Block sums just below a power of two, the largest mantissas, in neighbouring binades; then usual norms.
  std::vector<std::pair<float, int64_t>> cases;
  for (int exponent = -90; exponent <= 40; exponent += 13)
    for (int k = exponent; k < exponent + 8; ++k)
      cases.emplace_back(std::sqrt(std::nextafter(std::ldexp(1.0f, k), 0.0f)), SquaredNorm::kMaxBlocks);
  for (float norm : {0.1f, 0.15f, 0.2f, 0.3f, 1.0f}) cases.emplace_back(norm / (1 << 14), int64_t{1} << 28);
  for (const auto& [element, blocks] : cases) {
    SCOPED_TRACE(fmt::format("{}, {} blocks of {}", machine.name(), blocks, element));
    Values values;
    const TensorView bins = values.add(std::vector<int64_t>(SquaredNorm::kNumBins)),
                     other_half = values.add(std::vector<int64_t>(SquaredNorm::kNumBins)),
                     bucket = values.add<float>({element});
    values.run(machine, SquaredNorm(true), {bucket}, {bins});
    const auto times = [&, blocks = blocks](const TensorView& half, int64_t count) {
      for (int i = 0; i < SquaredNorm::kNumBins; ++i) {
        const int64_t term = bins.as<int64_t>()[i];
        ASSERT_LE(term, INT64_MAX / blocks) << "bin " << i;
        half.as<int64_t>()[i] = term * count;
      }
    };
    times(other_half, blocks / 2);
    times(bins, blocks / 2 - 1);
    values.run(machine, SquaredNorm(false), {bucket}, {bins});
    const TensorView norm = values.add<float>({0}), factor = values.add<float>({0}),
                     apply = values.add<int32_t>({9}), step = values.add<int32_t>({6});
    values.run(machine, ClipGradients(0.0f, 2), {bins, other_half, values.add<float>({1}), values.add<float>({1})},
               {norm, factor, apply, step});
    const double want = std::sqrt(static_cast<double>(blocks)) * static_cast<double>(element);
    EXPECT_NEAR(value<float>(norm), want, 1e-6 * want);
    EXPECT_EQ(value<int32_t>(apply), 1);
  }
}

void expect_tokens_counted_exactly(Machine& machine) {
  constexpr int64_t kTokens = (1 << 24) + 3;  // the next f32 is 2^24 + 4
  Values values;
  const TensorView count = values.add<int64_t>({77}), seed = values.add<float>({0});
  values.run(machine, CountValid(), {values.add(std::vector<int32_t>(kTokens, 5))}, {count});
  EXPECT_EQ(value<int64_t>(count), kTokens) << machine.name();
  values.run(machine, LossSeed(), {values.add<float>({1}), count}, {seed});
  EXPECT_EQ(value<float>(seed), static_cast<float>(1.0 / kTokens));
}

void expect_non_finite_found(Machine& machine) {
  constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  for (auto [bad, bad_loss] :
       {std::pair<float, float>{kInf, 1}, {-kInf, 1}, {kNan, 1}, {1, kNan}, {1, kInf}, {1, 1}}) {
    Values values;
    std::vector<float> bucket(300, 1.0f);
    bucket[277] = bad;
    const TensorView bins = values.add(std::vector<int64_t>(SquaredNorm::kNumBins));
    const TensorView norm = values.add<float>({0}), factor = values.add<float>({0}),
                     apply = values.add<int32_t>({9}), step = values.add<int32_t>({6});
    values.run(machine, SquaredNorm(true), {values.add(bucket)}, {bins});
    values.run(machine, ClipGradients(0.0f), {bins, values.add<float>({2}), values.add<float>({bad_loss})},
               {norm, factor, apply, step});
    const bool finite = bad == 1 && bad_loss == 1;
    EXPECT_EQ(value<int32_t>(apply), finite) << machine.name() << " " << bad << " " << bad_loss;
    EXPECT_EQ(value<int32_t>(step), finite ? 7 : 6);
  }
}

}  // namespace trine::reference

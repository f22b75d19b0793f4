#include "kernels/cpu/product.h"

#include <algorithm>
#include <omp.h>
#include <string_view>

#include "base/error.h"

namespace trine::cpu {
namespace {

constexpr int64_t kBlock = 1024;  // rows and columns: 4 MiB in f32

// The library's engine has no state of ours; one per process is what it is made for.
const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::memory::data_type library_type(DType dtype) {
  return dtype == DType::kBF16  ? dnnl::memory::data_type::bf16
         : dtype == DType::kF16 ? dnnl::memory::data_type::f16
                                : dnnl::memory::data_type::f32;
}

dnnl::memory::desc describe(const MatrixLayout& m) {
  return {{m.rows, m.columns}, library_type(m.dtype), {m.row_stride, m.column_stride}};
}

// The library takes its number of threads, when a product is made and when it runs, from OpenMP's setting of the
// calling thread: it must be this rank's, or the team changes size between two kernels,
// which ends and starts threads.
void use_threads(const CpuContext& context) { omp_set_num_threads(context.parallel.threads); }

bool is_transposed(const MatrixLayout& m) { return m.row_stride == 1 && m.column_stride != 1; }

// A block's copy in f32, as it is stored: rows of a transposed operand stay columns.
MatrixLayout block_of(const MatrixLayout& m, int64_t rows, int64_t columns) {
  return is_transposed(m) ? MatrixLayout{DType::kF32, rows, columns, 1, rows}
                          : MatrixLayout{DType::kF32, rows, columns, columns, 1};
}

int64_t largest_block_bytes(const MatrixLayout& m) {
  return round_up(std::min(m.rows, kBlock) * std::min(m.columns, kBlock) * static_cast<int64_t>(sizeof(float)), 64);
}

// The sizes of the blocks that a dim is cut into, each once.
std::vector<int64_t> block_sizes(int64_t size) {
  std::vector<int64_t> sizes;
  if (size >= kBlock) sizes.push_back(kBlock);
  if (size % kBlock != 0) sizes.push_back(size % kBlock);
  return sizes;
}

std::byte* at(const std::byte* data, const MatrixLayout& m, int64_t row, int64_t column) {
  return const_cast<std::byte*>(data) +
         (row * m.row_stride + column * m.column_stride) * static_cast<int64_t>(size_bytes(m.dtype));
}

// oneDNN 2 describes a product in two steps, oneDNN 3 in one.
template <typename Matmul>
auto choose(const dnnl::memory::desc& a, const dnnl::memory::desc& b, const dnnl::memory::desc& c,
            const dnnl::primitive_attr& attributes) {
  if constexpr (requires { typename Matmul::desc; })
    return typename Matmul::primitive_desc(typename Matmul::desc(a, b, c), attributes, engine());
  else
    return typename Matmul::primitive_desc(engine(), a, b, c, attributes);
}

}  // namespace

Product::Product(ContextPtr context, std::vector<std::pair<MatrixLayout, MatrixLayout>> terms, MatrixLayout c,
                 bool accumulates)
    : context_(std::move(context)), terms_(std::move(terms)), c_(c), accumulates_(accumulates), stream_(engine()) {
  if (terms_.size() != 1) return;
  overwrite_ = make(terms_[0].first, terms_[0].second, c_, false);
  if (overwrite_ && accumulates) accumulate_ = make(terms_[0].first, terms_[0].second, c_, true);
}

// Null if the library has no fast product of these types here.
std::unique_ptr<Product::Primitive> Product::make(MatrixLayout a, MatrixLayout b, MatrixLayout c,
                                                  bool accumulate) const {
  if (a.dtype == DType::kF16 || (a.dtype == DType::kBF16 && !context_->native_bf16_products)) return nullptr;
  use_threads(*context_);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  try {
    const auto chosen = choose<dnnl::matmul>(describe(a), describe(b), describe(c), attributes);
    if (std::string_view(chosen.impl_info_str()).find("ref") != std::string_view::npos && a.dtype != DType::kF32)
      return nullptr;
    auto primitive = std::make_unique<Primitive>();
    *primitive = {dnnl::matmul(chosen), describe(a), describe(b), describe(c), chosen.scratchpad_desc()};
    return primitive;
  } catch (const dnnl::error& error) {
    TRINE_CHECK(a.dtype != DType::kF32, "oneDNN refuses an f32 product: {}", error.what());
    return nullptr;
  }
}

void Product::execute(const Primitive& p, const std::byte* a, const std::byte* b, std::byte* c,
                      std::span<std::byte> workspace) const {
  use_threads(*context_);
  const auto memory = [](const dnnl::memory::desc& desc, const std::byte* data) {
    return dnnl::memory(desc, engine(), const_cast<std::byte*>(data));
  };
  // A scratchpad beyond the plan's bound is the library's own business: allocated for the call, outside the plan.
  const bool fits = p.scratch.get_size() <= workspace.size();
  const dnnl::memory scratch = fits ? memory(p.scratch, workspace.data()) : dnnl::memory(p.scratch, engine());
  p.matmul.execute(stream_, {{DNNL_ARG_SRC, memory(p.a, a)},
                             {DNNL_ARG_WEIGHTS, memory(p.b, b)},
                             {DNNL_ARG_DST, memory(p.c, c)},
                             {DNNL_ARG_SCRATCHPAD, scratch}});
  stream_.wait();
}

void Product::run(std::span<const std::pair<const std::byte*, const std::byte*>> terms, std::byte* c,
                  bool accumulate, std::span<std::byte> workspace) const {
  const Primitive* direct = accumulate ? accumulate_.get() : overwrite_.get();
  if (direct != nullptr)
    execute(*direct, terms[0].first, terms[0].second, c, workspace);
  else
    run_blocks(terms, c, accumulate, workspace);
}

Product::BlockBytes Product::block_bytes() const {
  BlockBytes bytes;
  for (const auto& [a, b] : terms_) {
    bytes.a = std::max(bytes.a, largest_block_bytes(a));
    bytes.b = std::max(bytes.b, largest_block_bytes(b));
  }
  if (c_.dtype != DType::kF32) bytes.c = largest_block_bytes(c_);
  return bytes;
}

int64_t Product::workspace_bytes() const {
  size_t scratch = 0;
  const auto add = [&](const Primitive& primitive) { scratch = std::max(scratch, primitive.scratch.get_size()); };
  if (overwrite_) {
    add(*overwrite_);
    if (accumulate_) add(*accumulate_);
    return static_cast<int64_t>(scratch);
  }
  const BlockBytes blocks = block_bytes();
  for (const int64_t m : block_sizes(c_.rows))
    for (const int64_t n : block_sizes(c_.columns)) {
      const MatrixLayout sums{DType::kF32, m, n, blocks.c == 0 ? c_.row_stride : n, 1};
      bool first = true;
      for (const auto& [a, b] : terms_)
        for (const int64_t k : block_sizes(a.columns)) {
          if (first) add(block(block_of(a, m, k), block_of(b, k, n), sums, false));
          const bool adds = !first || accumulates_ || a.columns > k;
          if (adds) add(block(block_of(a, m, k), block_of(b, k, n), sums, true));
          first = false;
        }
    }
  return blocks.total() + static_cast<int64_t>(scratch);
}

const Product::Primitive& Product::block(const MatrixLayout& a, const MatrixLayout& b, const MatrixLayout& c,
                                         bool accumulate) const {
  std::unique_ptr<Primitive>& entry =
      blocks_[{a.rows, b.columns, a.columns, a.row_stride == 1, b.row_stride == 1, c.row_stride, accumulate}];
  if (!entry) entry = make(a, b, c, accumulate);
  return *entry;
}

// Copies blocks into f32 as they are stored. A block that the step before used stays. C is added up where it is, if
// it is f32.
void Product::run_blocks(std::span<const std::pair<const std::byte*, const std::byte*>> terms, std::byte* c,
                         bool accumulate, std::span<std::byte> workspace) const {
  struct Block {
    std::byte* data;
    const std::byte* from = nullptr;
    MatrixLayout layout = {};
  };
  const BlockBytes bytes = block_bytes();
  const bool in_place = bytes.c == 0;
  const int64_t need = bytes.total();
  TRINE_CHECK(std::ssize(workspace) >= need, "{} bytes of workspace, {} needed", workspace.size(), need);
  Block a_block{workspace.data()}, b_block{a_block.data + bytes.a};
  std::byte* const c_block = b_block.data + bytes.b;
  const std::span<std::byte> rest = workspace.subspan(static_cast<size_t>(need));

  const auto widen = [&](const MatrixLayout& m, const std::byte* data, int64_t row, int64_t column, Block& block) {
    const int64_t rows = std::min(kBlock, m.rows - row), columns = std::min(kBlock, m.columns - column);
    const std::byte* from = at(data, m, row, column);
    if (block.from == from && block.layout.rows == rows && block.layout.columns == columns) return;
    const bool transposed = is_transposed(m);
    const int64_t stored_rows = transposed ? columns : rows, stored_columns = transposed ? rows : columns;
    context_->simd->copy_rows(m.dtype, DType::kF32, stored_rows, stored_columns,
                              {from, transposed ? m.column_stride : m.row_stride}, {block.data, stored_columns},
                              context_->parallel);
    block.from = from;
    block.layout = block_of(m, rows, columns);
  };
  for (int64_t row = 0; row < c_.rows; row += kBlock) {
    for (int64_t column = 0; column < c_.columns; column += kBlock) {
      const int64_t m = std::min(kBlock, c_.rows - row), n = std::min(kBlock, c_.columns - column);
      std::byte* const target = at(c, c_, row, column);
      const MatrixLayout sums{DType::kF32, m, n, in_place ? c_.row_stride : n, 1};
      std::byte* const sum = in_place ? target : c_block;
      if (accumulate && !in_place)
        context_->simd->copy_rows(c_.dtype, DType::kF32, m, n, {target, c_.row_stride}, {sum, n},
                                  context_->parallel);
      bool started = accumulate;
      for (size_t t = 0; t < terms.size(); ++t) {
        const auto& [a, b] = terms_[t];
        for (int64_t k = 0; k < a.columns; k += kBlock) {
          widen(a, terms[t].first, row, k, a_block);
          widen(b, terms[t].second, k, column, b_block);
          execute(block(a_block.layout, b_block.layout, sums, started), a_block.data, b_block.data, sum, rest);
          started = true;
        }
      }
      if (!in_place)
        context_->simd->copy_rows(DType::kF32, c_.dtype, m, n, {sum, n}, {target, c_.row_stride},
                                  context_->parallel);
    }
  }
}

}  // namespace trine::cpu

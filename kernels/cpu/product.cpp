#include "kernels/cpu/product.h"

#include <algorithm>
#include <omp.h>
#include <string_view>

#include "base/error.h"

namespace trine::cpu {
namespace {

constexpr int64_t kBlockM = 256, kBlockN = 256, kBlockK = 512;

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
// calling thread: it must be this rank's, or the team changes size between two kernels, which ends and starts
// threads.
void use_threads(const CpuContext& context) { omp_set_num_threads(context.parallel.threads); }

std::byte* at(const std::byte* data, const MatrixLayout& m, int64_t row, int64_t column) {
  return const_cast<std::byte*>(data) +
         (row * m.row_stride + column * m.column_stride) * static_cast<int64_t>(size_bytes(m.dtype));
}

}  // namespace

Product::Product(ContextPtr context, std::vector<std::pair<MatrixLayout, MatrixLayout>> terms, MatrixLayout c,
                 bool accumulates)
    : context_(std::move(context)), terms_(std::move(terms)), c_(c), stream_(engine()) {
  if (terms_.size() != 1) return;
  overwrite_ = make(terms_[0].first, terms_[0].second, c_, false);
  if (overwrite_ && accumulates) accumulate_ = make(terms_[0].first, terms_[0].second, c_, true);
}

// Null if the library has no fast product of these types here.
std::unique_ptr<Product::Primitive> Product::make(MatrixLayout a, MatrixLayout b, MatrixLayout c,
                                                  bool accumulate) const {
  if (a.dtype == DType::kF16) return nullptr;
  use_threads(*context_);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  try {
    const dnnl::matmul::desc problem(describe(a), describe(b), describe(c));
    const dnnl::matmul::primitive_desc chosen(problem, attributes, engine());
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

int64_t Product::block_workspace_bytes() { return (kBlockM * kBlockK + kBlockK * kBlockN + kBlockM * kBlockN) * 4; }

const Product::Primitive& Product::block(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed,
                                         bool accumulate) const {
  std::unique_ptr<Primitive>& entry = blocks_[{m, n, k, a_transposed, b_transposed, accumulate}];
  if (!entry) {
    const auto layout = [](int64_t rows, int64_t columns, bool transposed) {
      return transposed ? MatrixLayout{DType::kF32, rows, columns, 1, rows}
                        : MatrixLayout{DType::kF32, rows, columns, columns, 1};
    };
    entry =
        make(layout(m, k, a_transposed), layout(k, n, b_transposed), {DType::kF32, m, n, kBlockN, 1}, accumulate);
  }
  return *entry;
}

// Copies a block into f32 as it is stored: rows of the stored matrix are columns of a transposed operand.
void Product::run_blocks(std::span<const std::pair<const std::byte*, const std::byte*>> terms, std::byte* c,
                         bool accumulate, std::span<std::byte> workspace) const {
  TRINE_CHECK(static_cast<int64_t>(workspace.size()) >= block_workspace_bytes(), "{} bytes of workspace, {} needed",
              workspace.size(), block_workspace_bytes());
  std::byte* const a_block = workspace.data();
  std::byte* const b_block = a_block + kBlockM * kBlockK * 4;
  std::byte* const c_block = b_block + kBlockK * kBlockN * 4;
  const std::span<std::byte> rest = workspace.subspan(static_cast<size_t>(block_workspace_bytes()));
  const auto widen = [&](const MatrixLayout& m, const std::byte* data, int64_t row, int64_t column, int64_t rows,
                         int64_t columns, std::byte* to) {
    const bool transposed = m.row_stride == 1 && m.column_stride != 1;
    const int64_t stored_rows = transposed ? columns : rows, stored_columns = transposed ? rows : columns;
    context_->simd->copy_rows(m.dtype, DType::kF32, stored_rows, stored_columns,
                              {at(data, m, row, column), transposed ? m.column_stride : m.row_stride},
                              {to, stored_columns}, context_->parallel);
    return transposed;
  };
  for (int64_t row = 0; row < c_.rows; row += kBlockM) {
    const int64_t m = std::min(kBlockM, c_.rows - row);
    for (int64_t column = 0; column < c_.columns; column += kBlockN) {
      const int64_t n = std::min(kBlockN, c_.columns - column);
      std::byte* const target = at(c, c_, row, column);
      bool started = accumulate;
      if (accumulate)
        context_->simd->copy_rows(c_.dtype, DType::kF32, m, n, {target, c_.row_stride}, {c_block, kBlockN},
                                  context_->parallel);
      for (size_t t = 0; t < terms.size(); ++t) {
        const auto& [a, b] = terms_[t];
        for (int64_t begin = 0; begin < a.columns; begin += kBlockK) {
          const int64_t k = std::min(kBlockK, a.columns - begin);
          const bool a_transposed = widen(a, terms[t].first, row, begin, m, k, a_block);
          const bool b_transposed = widen(b, terms[t].second, begin, column, k, n, b_block);
          execute(block(m, n, k, a_transposed, b_transposed, started), a_block, b_block, c_block, rest);
          started = true;
        }
      }
      context_->simd->copy_rows(DType::kF32, c_.dtype, m, n, {c_block, kBlockN}, {target, c_.row_stride},
                                context_->parallel);
    }
  }
}

}  // namespace trine::cpu

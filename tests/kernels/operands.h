// The operands of an op case in memory, placed as graphs place them, with guards around.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"
#include "graph/index_map.h"
#include "kernels/kernel.h"
#include "tests/ops/op_cases.h"

namespace trine::reference {

// kAlone: each in its own buffer. kGaps: rows of tokens with gaps between them. kSideBySide: neighbours of a kind
// as columns (rows of tokens) or rows (weights) of one matrix.
// kInPlace: outputs over the inputs that the op offers.
enum class Placing { kAlone, kGaps, kSideBySide, kInPlace };
constexpr std::byte kSentinel{0xff};  // a NaN in every float type: an element that is not written shows
constexpr int64_t kGuard = 64;        // bytes

// Bytes with guards around them, 64-byte aligned.
class Buffer {
 public:
  explicit Buffer(int64_t size) : size_(size), bytes_(static_cast<size_t>(size + 2 * kGuard + 64), kSentinel) {}
  std::byte* data() {
    return reinterpret_cast<std::byte*>(round_up(reinterpret_cast<intptr_t>(bytes_.data()), 64)) + kGuard;
  }
  std::span<std::byte> span() { return {data(), static_cast<size_t>(size_)}; }
  const std::vector<std::byte>& all() const { return bytes_; }
  bool guards_hold() {
    const auto intact = [](std::span<const std::byte> guard) {
      return std::all_of(guard.begin(), guard.end(), [](std::byte b) { return b == kSentinel; });
    };
    return intact({data() - kGuard, kGuard}) && intact({data() + size_, kGuard});
  }

 private:
  int64_t size_;
  std::vector<std::byte> bytes_;
};

inline void store(const TensorView& view, const Tensor& values) {
  for (int64_t i = 0; i < view.num_elements(); ++i) {
    const int64_t at = i / view.columns * view.row_stride + i % view.columns;
    const float f = static_cast<float>(values(i));
    switch (view.dtype) {
      case DType::kF32:
        view.as<float>()[at] = f;
        break;
      case DType::kBF16:
        view.as<BFloat16>()[at] = to_bf16(f);
        break;
      case DType::kF16:
        view.as<Float16>()[at] = to_f16(f);
        break;
      case DType::kI32:
        view.as<int32_t>()[at] = static_cast<int32_t>(values(i));
        break;
      case DType::kI64:
        view.as<int64_t>()[at] = static_cast<int64_t>(values(i));
        break;
      default:
        TRINE_CHECK(false, "{}", name(view.dtype));
    }
  }
}

inline Tensor load(const TensorView& view, const Shape& shape) {
  Tensor values(shape);
  for (int64_t i = 0; i < view.num_elements(); ++i) {
    const int64_t at = i / view.columns * view.row_stride + i % view.columns;
    switch (view.dtype) {
      case DType::kF32:
        values(i) = view.as<float>()[at];
        break;
      case DType::kBF16:
        values(i) = to_float(view.as<BFloat16>()[at]);
        break;
      case DType::kF16:
        values(i) = to_float(view.as<Float16>()[at]);
        break;
      case DType::kI32:
        values(i) = view.as<int32_t>()[at];
        break;
      case DType::kI64:
        values(i) = static_cast<double>(view.as<int64_t>()[at]);
        break;
      default:
        TRINE_CHECK(false, "{}", name(view.dtype));
    }
  }
  return values;
}

// Between a view's rows and contiguous bytes.
inline void copy_rows(std::byte* bytes, const TensorView& view, bool from_view) {
  const int64_t item = static_cast<int64_t>(size_bytes(view.dtype)), row_bytes = view.columns * item;
  for (int64_t row = 0; row < view.rows; ++row) {
    std::byte *there = view.data + row * view.row_stride * item, *here = bytes + row * row_bytes;
    std::memcpy(from_view ? here : there, from_view ? there : here, static_cast<size_t>(row_bytes));
  }
}

// The operands of one run in memory.
class Operands {
 public:
  Operands(const OpCase& c, const Types& in, const Types& out, Placing placing) : placing_(placing) {
    const IndexMap map = parse_index_map(c.op->index_map());
    place(map.inputs, in, c.op->name() == "accumulate" ? 0 : map.inputs.size(), inputs);
    place(map.outputs, out, map.outputs.size() - c.states.size(), outputs);
    if (placing != Placing::kInPlace) return;
    for (const InPlace& alias : c.op->in_place())  // one input per output
      outputs.at(static_cast<size_t>(alias.output)) = inputs.at(static_cast<size_t>(alias.input));
  }

  std::vector<TensorView> inputs, outputs;
  std::vector<Buffer> buffers;

 private:
  // Rows of tokens may have gaps; what is kept per token or per parameter,
  // and gradients of parameters, are contiguous.
  static bool may_have_gaps(const IndexMap::Operand& operand) {
    return operand.indices.size() == 2 && operand.indices[0] == "n" && operand.name != "lse";
  }

  // Operands before `first_whole` may be strided; neighbours of a kind share a buffer, when side by side.
  void place(const std::vector<IndexMap::Operand>& operands, const Types& types, size_t first_whole,
             std::vector<TensorView>& views) {
    for (size_t i = 0; i < types.size();) {
      const bool gaps = may_have_gaps(operands[i]) && i < first_whole;
      size_t end = i + 1;
      if (placing_ == Placing::kSideBySide && operands[i].indices.size() == 2)
        while (end < types.size() && operands[end].indices == operands[i].indices &&
               types[end].dtype == types[i].dtype && may_have_gaps(operands[end]) == may_have_gaps(operands[i]))
          ++end;
      if (gaps)
        place_columns(types, i, end, views);
      else
        place_rows(types, i, end, views);
      i = end;
    }
  }
  void place_columns(const Types& types, size_t begin, size_t end, std::vector<TensorView>& views) {
    const bool strided = placing_ == Placing::kGaps;
    const int64_t item = static_cast<int64_t>(size_bytes(types[begin].dtype)), left = strided ? 3 : 0;
    int64_t stride = left + (strided ? 2 : 0);
    for (size_t i = begin; i < end; ++i) stride += types[i].shape[1];
    std::byte* at = allocate(types[begin].shape[0] * stride * item) + left * item;
    for (size_t i = begin; i < end; ++i) {
      views.push_back({at, types[i].dtype, types[i].shape[0], types[i].shape[1], stride});
      at += types[i].shape[1] * item;
    }
  }
  void place_rows(const Types& types, size_t begin, size_t end, std::vector<TensorView>& views) {
    const int64_t item = static_cast<int64_t>(size_bytes(types[begin].dtype));
    int64_t elements = 0;
    for (size_t i = begin; i < end; ++i) elements += types[i].shape.num_elements();
    std::byte* at = allocate(elements * item);
    for (size_t i = begin; i < end; ++i) {
      const Shape& shape = types[i].shape;
      const int64_t rows = shape.num_dims() == 1 ? 1 : shape.num_rows();
      views.push_back({at, types[i].dtype, rows, shape.num_columns(), shape.num_columns()});
      at += shape.num_elements() * item;
    }
  }
  std::byte* allocate(int64_t bytes) { return buffers.emplace_back(bytes).data(); }

  Placing placing_;
};

}  // namespace trine::reference

// Which matrix products a linear op and its gradients are, on every backend: operands that lie side by side in
// memory are one product over all of them.
//   x [N, K]   w_i [M_i, K]   y_i, dy_i [N, M_i]   dx [N, K]   dw_i [M_i, K]
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/kernel.h"

namespace trine {

inline bool columns_adjacent(std::span<const TensorView> views) {  // one after the other within each row
  for (size_t i = 1; i < views.size(); ++i) {
    const TensorView& left = views[i - 1];
    const auto bytes = left.columns * static_cast<int64_t>(size_bytes(left.dtype));
    if (views[i].data != left.data + bytes || views[i].row_stride != left.row_stride) return false;
  }
  return true;
}

inline bool rows_adjacent(std::span<const TensorView> views) {  // one below the other
  for (size_t i = 1; i < views.size(); ++i) {
    const TensorView& upper = views[i - 1];
    const auto bytes = upper.rows * upper.row_stride * static_cast<int64_t>(size_bytes(upper.dtype));
    if (views[i].data != upper.data + bytes || views[i].columns != upper.columns) return false;
  }
  return true;
}

inline TensorView beside(std::span<const TensorView> views) {
  TensorView all = views[0];
  for (const TensorView& view : views.subspan(1)) all.columns += view.columns;
  return all;
}

inline TensorView below(std::span<const TensorView> views) {
  TensorView all = views[0];
  for (const TensorView& view : views.subspan(1)) all.rows += view.rows;
  return all;
}

// The addresses of the pairs A_i, B_i of a product.
using ProductTerms = std::vector<std::pair<const std::byte*, const std::byte*>>;

// `Library` knows matrices and multiplies them:
//   Layout layout(const TensorView&), transposed(const TensorView&)
//   std::shared_ptr<Product> product(std::vector<std::pair<Layout, Layout>> terms, Layout c, bool accumulates)
//       C (+)= sum_i A_i * B_i, with Product::run(ProductTerms, std::byte* c, bool accumulate, workspace)
template <typename Library>
class LinearKernels {
 public:
  explicit LinearKernels(Library library) : library_(std::move(library)) {}

  // y_i = x * w_i^T
  Kernel forward(const KernelRequest& request) const {
    const Views weights = request.inputs.subspan(1), outputs = request.outputs;
    const auto x = library_.layout(request.inputs[0]);
    Products products;
    const auto add = [&](const TensorView& w, const TensorView& y) {
      products.push_back(library_.product({{x, library_.transposed(w)}}, library_.layout(y), false));
    };
    if (rows_adjacent(weights) && columns_adjacent(outputs)) {
      add(below(weights), beside(outputs));
    } else {
      for (size_t i = 0; i < weights.size(); ++i) add(weights[i], outputs[i]);
    }
    return [products](const KernelCall& call) {
      for (size_t i = 0; i < products.size(); ++i)
        products[i]->run(ProductTerms{{call.inputs[0].data, call.inputs[1 + i].data}}, call.outputs[i].data, false,
                         call.workspace);
    };
  }

  // dx = sum_i dy_i * w_i
  Kernel grad_input(const KernelRequest& request) const {
    const size_t count = request.inputs.size() / 2;
    const Views dy = request.inputs.first(count), weights = request.inputs.subspan(count);
    std::vector<std::pair<Layout, Layout>> terms;
    if (columns_adjacent(dy) && rows_adjacent(weights)) {
      terms.emplace_back(library_.layout(beside(dy)), library_.layout(below(weights)));
    } else {
      for (size_t i = 0; i < count; ++i) terms.emplace_back(library_.layout(dy[i]), library_.layout(weights[i]));
    }
    const auto product = library_.product(terms, library_.layout(request.outputs[0]), false);
    return [product, count, num_terms = terms.size()](const KernelCall& call) {
      ProductTerms addresses;
      for (size_t i = 0; i < num_terms; ++i)
        addresses.emplace_back(call.inputs[i].data, call.inputs[count + i].data);
      product->run(addresses, call.outputs[0].data, false, call.workspace);
    };
  }

  // dw_i += dy_i^T * x
  Kernel grad_weight(const KernelRequest& request) const {
    const Views dy = request.inputs.subspan(1), sums = request.outputs;
    const auto x = library_.layout(request.inputs[0]);
    Products products;
    const auto add = [&](const TensorView& d, const TensorView& sum) {
      products.push_back(library_.product({{library_.transposed(d), x}}, library_.layout(sum), true));
    };
    if (columns_adjacent(dy) && rows_adjacent(sums)) {
      add(beside(dy), below(sums));
    } else {
      for (size_t i = 0; i < dy.size(); ++i) add(dy[i], sums[i]);
    }
    return [products](const KernelCall& call) {
      for (size_t i = 0; i < products.size(); ++i)
        products[i]->run(ProductTerms{{call.inputs[1 + i].data, call.inputs[0].data}}, call.outputs[i].data,
                         !call.first_write, call.workspace);
    };
  }

 private:
  using Views = std::span<const TensorView>;
  using Layout = typename Library::Layout;
  using Products = std::vector<std::shared_ptr<typename Library::Product>>;

  Library library_;
};

}  // namespace trine

// x [N, K]   w_i [M_i, K]   y_i [N, M_i]. Operands that lie side by side in memory are one product.
#include "ops/linear.h"

#include "kernels/adjacent.h"
#include "kernels/cpu/product.h"

namespace trine::cpu {
namespace {

using Views = std::span<const TensorView>;
using Addresses = std::vector<std::pair<const std::byte*, const std::byte*>>;

MatrixLayout layout(const TensorView& v) { return {v.dtype, v.rows, v.columns, v.row_stride, 1}; }
MatrixLayout transposed(const TensorView& v) { return {v.dtype, v.columns, v.rows, 1, v.row_stride}; }

// One row of x: each w_i is read once, as a stream.
Kernel forward_of_one_row(const ContextPtr& c, const KernelRequest& request) {
  const Views weights = request.inputs.subspan(1), outputs = request.outputs;
  std::vector<TensorView> products(weights.begin(), weights.end());
  if (rows_adjacent(weights) && columns_adjacent(outputs)) products = {below(weights)};
  return [c, products](const KernelCall& call) {
    for (size_t i = 0; i < products.size(); ++i) {
      const TensorView& w = products[i];
      c->simd->matvec(w.dtype, w.rows, w.columns, call.inputs[0].data, {call.inputs[1 + i].data, w.row_stride},
                      call.outputs[i].data, c->parallel);
    }
  };
}

// y_i = x * w_i^T
Kernel forward(const ContextPtr& c, const KernelRequest& request) {
  const TensorView& x = request.inputs[0];
  if (x.rows == 1) return forward_of_one_row(c, request);
  const Views weights = request.inputs.subspan(1), outputs = request.outputs;
  std::vector<std::shared_ptr<Product>> products;
  const auto add = [&](const TensorView& w, const TensorView& y) {
    products.push_back(
        std::make_shared<Product>(c, std::vector{std::pair{layout(x), transposed(w)}}, layout(y), false));
  };
  if (rows_adjacent(weights) && columns_adjacent(outputs)) {
    add(below(weights), beside(outputs));
  } else {
    for (size_t i = 0; i < weights.size(); ++i) add(weights[i], outputs[i]);
  }
  return [products](const KernelCall& call) {
    for (size_t i = 0; i < products.size(); ++i)
      products[i]->run(Addresses{{call.inputs[0].data, call.inputs[1 + i].data}}, call.outputs[i].data, false,
                       call.workspace);
  };
}

// dx = sum_i dy_i * w_i
Kernel grad_input(const ContextPtr& c, const KernelRequest& request) {
  const size_t count = request.inputs.size() / 2;
  const Views dy = request.inputs.first(count), weights = request.inputs.subspan(count);
  std::vector<std::pair<MatrixLayout, MatrixLayout>> terms;
  if (columns_adjacent(dy) && rows_adjacent(weights)) {
    terms.emplace_back(layout(beside(dy)), layout(below(weights)));
  } else {
    for (size_t i = 0; i < count; ++i) terms.emplace_back(layout(dy[i]), layout(weights[i]));
  }
  const auto product = std::make_shared<Product>(c, terms, layout(request.outputs[0]), false);
  return [product, count, num_terms = terms.size()](const KernelCall& call) {
    Addresses addresses;
    for (size_t i = 0; i < num_terms; ++i) addresses.emplace_back(call.inputs[i].data, call.inputs[count + i].data);
    product->run(addresses, call.outputs[0].data, false, call.workspace);
  };
}

// dw_i += dy_i^T * x
Kernel grad_weight(const ContextPtr& c, const KernelRequest& request) {
  const TensorView& x = request.inputs[0];
  const Views dy = request.inputs.subspan(1), sums = request.outputs;
  std::vector<std::shared_ptr<Product>> products;
  const auto add = [&](const TensorView& d, const TensorView& sum) {
    products.push_back(
        std::make_shared<Product>(c, std::vector{std::pair{transposed(d), layout(x)}}, layout(sum), true));
  };
  if (columns_adjacent(dy) && rows_adjacent(sums)) {
    add(beside(dy), below(sums));
  } else {
    for (size_t i = 0; i < dy.size(); ++i) add(dy[i], sums[i]);
  }
  return [products](const KernelCall& call) {
    for (size_t i = 0; i < products.size(); ++i)
      products[i]->run(Addresses{{call.inputs[1 + i].data, call.inputs[0].data}}, call.outputs[i].data,
                       !call.first_write, call.workspace);
  };
}

}  // namespace

void add_linear(KernelTable& table, const ContextPtr& c) {
  table.add("linear", [c](const KernelRequest& request) { return forward(c, request); });
  table.add("linear_dx", [c](const KernelRequest& request) { return grad_input(c, request); });
  table.add("linear_dw", [c](const KernelRequest& request) { return grad_weight(c, request); });
}

}  // namespace trine::cpu

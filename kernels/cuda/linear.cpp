// x [N, K]   w_i [M_i, K]   y_i [N, M_i]. Operands that lie side by side in memory are one product.
#include "ops/linear.h"

#include "kernels/adjacent.h"
#include "kernels/cuda/product.h"

namespace trine::cuda {
namespace {

using Views = std::span<const TensorView>;
using Terms = std::vector<std::pair<MatrixLayout, MatrixLayout>>;

// The stride of a single row says nothing, and must not spoil its alignment.
int64_t stride_of(const TensorView& v) { return v.rows == 1 ? round_up(v.columns, 64) : v.row_stride; }
MatrixLayout layout(const TensorView& v) { return {v.dtype, v.rows, v.columns, stride_of(v), false}; }
MatrixLayout transposed(const TensorView& v) { return {v.dtype, v.columns, v.rows, stride_of(v), true}; }

// y_i = x * w_i^T
Kernel forward(const ContextPtr& c, const KernelRequest& request) {
  const TensorView& x = request.inputs[0];
  const Views weights = request.inputs.subspan(1), outputs = request.outputs;
  std::vector<std::shared_ptr<Product>> products;
  const auto add = [&](const TensorView& w, const TensorView& y) {
    products.push_back(std::make_shared<Product>(c, Terms{{layout(x), transposed(w)}}, layout(y)));
  };
  if (rows_adjacent(weights) && columns_adjacent(outputs)) {
    add(below(weights), beside(outputs));
  } else {
    for (size_t i = 0; i < weights.size(); ++i) add(weights[i], outputs[i]);
  }
  return [products](const KernelCall& call) {
    for (size_t i = 0; i < products.size(); ++i)
      products[i]->run({{call.inputs[0].data, call.inputs[1 + i].data}}, call.outputs[i].data, false,
                       call.workspace);
  };
}

// dx = sum_i dy_i * w_i
Kernel grad_input(const ContextPtr& c, const KernelRequest& request) {
  const size_t count = request.inputs.size() / 2;
  const Views dy = request.inputs.first(count), weights = request.inputs.subspan(count);
  Terms terms;
  if (columns_adjacent(dy) && rows_adjacent(weights)) {
    terms.emplace_back(layout(beside(dy)), layout(below(weights)));
  } else {
    for (size_t i = 0; i < count; ++i) terms.emplace_back(layout(dy[i]), layout(weights[i]));
  }
  const auto product = std::make_shared<Product>(c, terms, layout(request.outputs[0]));
  return [product, count, num_terms = terms.size()](const KernelCall& call) {
    Product::Addresses addresses;
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
    products.push_back(std::make_shared<Product>(c, Terms{{transposed(d), layout(x)}}, layout(sum)));
  };
  if (columns_adjacent(dy) && rows_adjacent(sums)) {
    add(beside(dy), below(sums));
  } else {
    for (size_t i = 0; i < dy.size(); ++i) add(dy[i], sums[i]);
  }
  return [products](const KernelCall& call) {
    for (size_t i = 0; i < products.size(); ++i)
      products[i]->run({{call.inputs[1 + i].data, call.inputs[0].data}}, call.outputs[i].data, !call.first_write,
                       call.workspace);
  };
}

}  // namespace

void add_linear(KernelTable& table, const ContextPtr& c) {
  table.add("linear", [c](const KernelRequest& request) { return forward(c, request); });
  table.add("linear_dx", [c](const KernelRequest& request) { return grad_input(c, request); });
  table.add("linear_dw", [c](const KernelRequest& request) { return grad_weight(c, request); });
}

}  // namespace trine::cuda

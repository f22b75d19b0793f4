#include "ops/linear.h"

#include "kernels/cpu/product.h"
#include "kernels/linear_kernels.h"

namespace trine::cpu {
namespace {

struct OneDnn {
  using Layout = MatrixLayout;
  using Product = cpu::Product;
  ContextPtr context;
  const KernelRequest& request;

  static Layout layout(const TensorView& v) { return {v.dtype, v.rows, v.columns, v.row_stride, 1}; }
  static Layout transposed(const TensorView& v) { return {v.dtype, v.columns, v.rows, 1, v.row_stride}; }
  std::shared_ptr<Product> product(std::vector<std::pair<Layout, Layout>> terms, Layout c, bool accumulates) const {
    auto product = std::make_shared<Product>(context, std::move(terms), c, accumulates);
    if (request.workspace_used) request.uses_workspace(product->workspace_bytes());
    return product;
  }
};

// One row of x: each w_i is read once, as a stream.
Kernel forward_of_one_row(const ContextPtr& c, const KernelRequest& request) {
  const std::span<const TensorView> weights = request.inputs.subspan(1), outputs = request.outputs;
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

}  // namespace

void add_linear(KernelTable& table, const ContextPtr& c) {
  using Kernels = LinearKernels<OneDnn>;
  table.add("linear", [c](const KernelRequest& request) {
    return request.inputs[0].rows == 1 ? forward_of_one_row(c, request) : Kernels({c, request}).forward(request);
  });
  table.add("linear_dx", [c](const KernelRequest& request) { return Kernels({c, request}).grad_input(request); });
  table.add("linear_dw", [c](const KernelRequest& request) { return Kernels({c, request}).grad_weight(request); });
}

}  // namespace trine::cpu

#include "ops/linear.h"

#include "kernels/cuda/product.h"
#include "kernels/linear_kernels.h"

namespace trine::cuda {
namespace {

struct CublasLt {
  using Layout = MatrixLayout;
  using Product = cuda::Product;
  ContextPtr context;

  // The stride of a single row says nothing, and must not spoil its alignment.
  static int64_t stride_of(const TensorView& v) { return v.rows == 1 ? round_up(v.columns, 64) : v.row_stride; }
  static Layout layout(const TensorView& v) { return {v.dtype, v.rows, v.columns, stride_of(v), false}; }
  static Layout transposed(const TensorView& v) { return {v.dtype, v.columns, v.rows, stride_of(v), true}; }
  std::shared_ptr<Product> product(const std::vector<std::pair<Layout, Layout>>& terms, Layout c, bool) const {
    return std::make_shared<Product>(context, terms, c);
  }
};

}  // namespace

void add_linear(KernelTable& table, const ContextPtr& c) {
  const LinearKernels<CublasLt> kernels({c});
  table.add("linear", [kernels](const KernelRequest& request) { return kernels.forward(request); });
  table.add("linear_dx", [kernels](const KernelRequest& request) { return kernels.grad_input(request); });
  table.add("linear_dw", [kernels](const KernelRequest& request) { return kernels.grad_weight(request); });
}

}  // namespace trine::cuda

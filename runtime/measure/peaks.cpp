#include "runtime/measure/peaks.h"

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "kernels/cpu/product.h"

namespace trine {

FixedProduct::FixedProduct(DType dtype, int64_t size, int threads)
    : flops_(2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size)) {
  const auto context = std::make_shared<cpu::CpuContext>(cpu::best_isa(), threads, cpu::fastest_bf16());
  const cpu::MatrixLayout square{dtype, size, size, size, 1};
  const auto product = std::make_shared<cpu::Product>(
      context, std::vector<std::pair<cpu::MatrixLayout, cpu::MatrixLayout>>{{square, square}}, square, false);
  struct Buffers {
    std::vector<std::byte> a, b, c, workspace;
  };
  const size_t bytes = static_cast<size_t>(size * size) * size_bytes(dtype);
  const auto buffers =
      std::make_shared<Buffers>(Buffers{std::vector<std::byte>(bytes), std::vector<std::byte>(bytes),
                                        std::vector<std::byte>(bytes), std::vector<std::byte>(size_t{64} << 20)});
  run_ = [product, buffers] {
    const std::pair<const std::byte*, const std::byte*> terms[] = {{buffers->a.data(), buffers->b.data()}};
    product->run(terms, buffers->c.data(), false, buffers->workspace);
  };
}

Stream::Stream(int threads, int64_t floats) : bytes_(12.0 * static_cast<double>(floats)) {
  const auto context = std::make_shared<cpu::CpuContext>(cpu::best_isa(), threads, cpu::fastest_bf16());
  const auto x = std::make_shared<std::vector<float>>(static_cast<size_t>(floats), 1.0f),
             y = std::make_shared<std::vector<float>>(static_cast<size_t>(floats));
  run_ = [context, x, y, floats] {
    context->simd->accumulate(floats, y->data(), x->data(), false, context->parallel);
  };
}

Peaks measure_peaks(DType dtype, int threads) {
  const auto best = [](auto& work, double amount) {
    double most = 0;
    for (int i = 0; i < 6; ++i) {
      const int64_t begin = now_ns();
      work.run();
      most = std::max(most, amount / (static_cast<double>(now_ns() - begin) * 1e-9));
    }
    return most;
  };
  FixedProduct product(dtype, 2048, threads);
  Stream stream(threads, int64_t{32} << 20);
  return {best(product, product.flops()), best(stream, stream.bytes())};
}

}  // namespace trine

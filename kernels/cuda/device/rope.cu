// x, y T[n, heads * head_dim], cos and sin f32[positions, head_dim / 2]. A thread rotates a pack of a head's first
// half with its partner in the second; both are loaded before either is stored, so that y may be x.
#include "kernels/cuda/device/launch.cuh"

namespace trine::cuda {
namespace {

struct Angles {
  const float *cos, *sin;
  int64_t seq, positions;
  const int32_t* position;  // of row 0, or null for 0
  bool inverse;
};

template <typename T, bool whole>
__global__ void rope_kernel(int64_t n, int64_t heads, int64_t head_dim, ConstRows x, Angles angles, Rows y) {
  constexpr int N = kPack<T>;
  const int64_t item = item_of_row(), half = head_dim / 2;
  if (item >= rope_items(heads, head_dim, N)) return;
  const RopeItem at = rope_item(item, head_dim, N);
  const int64_t count = half - at.angle, first = angles.position == nullptr ? 0 : *angles.position;
  require(first >= 0 && first + smaller(n, angles.seq) <= angles.positions);
  for (int64_t i = blockIdx.y; i < n; i += gridDim.y) {
    const int64_t table = (first + divide(i, angles.seq).remainder) * half + at.angle;
    const Values<N> cos = load<whole, N>(angles.cos + table, count),
                    sin = load<whole, N>(angles.sin + table, count);
    const T* const from = row<T>(x, i) + at.column;
    const Values<N> x1 = load<whole, N>(from, count), x2 = load<whole, N>(from + half, count);
    Values<N> y1, y2;
#pragma unroll
    for (int e = 0; e < N; ++e) {
      const float s = angles.inverse ? -sin[e] : sin[e];
      y1[e] = fmaf(x1[e], cos[e], -(x2[e] * s));
      y2[e] = fmaf(x2[e], cos[e], x1[e] * s);
    }
    T* const to = row<T>(y, i) + at.column;
    store<whole>(to, y1, count);
    store<whole>(to + half, y2, count);
  }
}

}  // namespace

void rope(cudaStream_t stream, DType dtype, int64_t n, int64_t heads, int64_t head_dim, int64_t seq, ConstRows x,
          const float* cos, const float* sin, bool inverse, const int32_t* position, int64_t positions, Rows out) {
  const Angles angles{cos, sin, seq, positions, position, inverse};
  for_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    const int64_t half = head_dim / 2;
    // A pack of angles is as many f32, of which rows are aligned if the head's halves are.
    const bool aligned = in_packs(x, half, sizeof(T)) && in_packs(out, half, sizeof(T)) && in_packs(cos, half, 4) &&
                         in_packs(sin, half, 4);
    for_packs(aligned, [&](auto whole) {
      rope_kernel<T, whole.value><<<rows_grid(n, rope_items(heads, head_dim, kPack<T>)), kThreads, 0, stream>>>(
          n, heads, head_dim, x, angles, out);
    });
  });
  check_launch("rope");
}

}  // namespace trine::cuda

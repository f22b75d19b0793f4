// B sequences of T tokens, H query heads, G kv heads of D numbers each; rows are b * T + t.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/attention.h"
#include "ops/cached_attention.h"
#include "ops/repeat_heads.h"
#include "ops/rope.h"
#include "ops/take_row.h"
#include "tests/reference/ops.h"

namespace trine::reference {
namespace {

// Rotates (x[j], x[j + D/2]) of every head by position * frequency[j].
void rope(const Call& call) {
  const Rope& op = call.as<Rope>();
  const Tensor& x = call.x(0);
  const int64_t half = op.head_dim / 2;
  for (int64_t row = 0; row < x.rows(); ++row)
    for (int64_t head = 0; head < x.columns(); head += op.head_dim)
      for (int64_t j = 0; j < half; ++j) {
        const double angle = static_cast<double>(row % op.seq) * op.inverse_frequencies->at(static_cast<size_t>(j));
        const double c = std::cos(angle), s = op.inverse ? -std::sin(angle) : std::sin(angle);
        const double a = x(row, head + j), b = x(row, head + half + j);
        call.y(0)(row, head + j) = a * c - b * s;
        call.y(0)(row, head + half + j) = b * c + a * s;
      }
}

// y of head h is x of head h / copies.
void repeat_heads(const Call& call) {
  const RepeatHeads& op = call.as<RepeatHeads>();
  Tensor& y = call.y(0);
  for (int64_t row = 0; row < y.rows(); ++row)
    for (int64_t column = 0; column < y.columns(); ++column) {
      const int64_t head = column / op.head_dim / op.copies;
      y(row, column) = call.x(0)(row, head * op.head_dim + column % op.head_dim);
    }
}

// Rotates as rope, from the position on.
void rope_at(const Call& call) {
  const RopeAt& op = call.as<RopeAt>();
  const Tensor& x = call.x(0);
  const int64_t half = op.head_dim / 2;
  for (int64_t row = 0; row < x.rows(); ++row)
    for (int64_t column = 0; column < x.columns(); ++column) {
      const int64_t j = column % op.head_dim % half;
      const double angle =
          (call.x(1)(0) + static_cast<double>(row)) * op.inverse_frequencies->at(static_cast<size_t>(j));
      const bool first = column % op.head_dim < half;
      const double other = first ? -x(row, column + half) : x(row, column - half);
      call.y(0)(row, column) = x(row, column) * std::cos(angle) + other * std::sin(angle);
    }
}

void take_row(const Call& call) {
  for (int64_t column = 0; column < call.x(0).columns(); ++column)
    call.y(0)(0, column) = call.x(0)(static_cast<int64_t>(call.x(1)(0)), column);
}

// The transpose: whoever got x of a head gives its gradient back.
void repeat_heads_grad(const Call& call) {
  const RepeatHeadsGrad& op = call.as<RepeatHeadsGrad>();
  const Tensor& dy = call.x(0);
  Tensor& dx = call.y(0) = Tensor(call.y(0).shape);
  for (int64_t row = 0; row < dy.rows(); ++row)
    for (int64_t column = 0; column < dy.columns(); ++column) {
      const int64_t head = column / op.head_dim / op.copies;
      dx(row, head * op.head_dim + column % op.head_dim) += dy(row, column);
    }
}

// Views of one (sequence, query head): rows and columns where its q, k, v begin.
struct Head {
  int64_t row, q_column, k_column, index;
};

template <typename Function>
void for_each_head(const Tensor& q, const Tensor& k, int64_t seq, int64_t head_dim, Function&& function) {
  const int64_t heads = q.columns() / head_dim, group = heads / (k.columns() / head_dim);
  for (int64_t row = 0; row < q.rows(); row += seq)
    for (int64_t h = 0; h < heads; ++h) function(Head{row, h * head_dim, h / group * head_dim, h});
}

double score(const Tensor& q, const Tensor& k, const Head& head, int64_t t, int64_t s, int64_t head_dim) {
  const double *q_row = q.row(head.row + t) + head.q_column, *k_row = k.row(head.row + s) + head.k_column;
  return std::inner_product(q_row, q_row + head_dim, k_row, 0.0) / std::sqrt(static_cast<double>(head_dim));
}

// o = softmax(q k^T / sqrt(D), causal) v
void attention(const Call& call) {
  const auto& op = call.as<Attention>();
  const Tensor &q = call.x(0), &k = call.x(1), &v = call.x(2);
  Tensor &o = call.y(0), &lse = call.y(1);
  o = Tensor(o.shape);
  for_each_head(q, k, op.seq, op.head_dim, [&](const Head& head) {
    for (int64_t t = 0; t < op.seq; ++t) {
      std::vector<double> scores;
      for (int64_t s = 0; s <= t; ++s) scores.push_back(score(q, k, head, t, s, op.head_dim));
      const double max = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double value : scores) sum += std::exp(value - max);
      lse(head.row + t, head.index) = max + std::log(sum);
      for (int64_t s = 0; s <= t; ++s)
        for (int64_t d = 0; d < op.head_dim; ++d)
          o(head.row + t, head.q_column + d) +=
              std::exp(scores[static_cast<size_t>(s)] - max) / sum * v(head.row + s, head.k_column + d);
    }
  });
}

// The caches get k and v from the position on; row t sees their rows up to position + t.
void cached_attention(const Call& call) {
  const auto& op = call.as<CachedAttention>();
  const Tensor &q = call.x(0), &k = call.x(1), &v = call.x(2);
  Tensor &o = call.y(0), &keys = call.y(1), &values = call.y(2);
  const auto position = static_cast<int64_t>(call.x(3)(0));
  for (int64_t row = 0; row < k.rows(); ++row)
    for (int64_t column = 0; column < k.columns(); ++column) {
      keys(position + row, column) = k(row, column);
      values(position + row, column) = v(row, column);
    }
  o = Tensor(o.shape);
  const int64_t group = q.columns() / k.columns();
  for (int64_t t = 0; t < q.rows(); ++t)
    for (int64_t column = 0; column < q.columns(); column += op.head_dim) {
      const int64_t kv = column / op.head_dim / group * op.head_dim;
      double sum = 0;
      for (int64_t s = 0; s <= position + t; ++s) {
        const double* q_row = q.row(t) + column;
        const double dot = std::inner_product(q_row, q_row + op.head_dim, keys.row(s) + kv, 0.0);
        const double weight = std::exp(dot / std::sqrt(static_cast<double>(op.head_dim)));
        sum += weight;
        for (int64_t d = 0; d < op.head_dim; ++d) o(t, column + d) += weight * values(s, kv + d);
      }
      for (int64_t d = 0; d < op.head_dim; ++d) o(t, column + d) /= sum;
    }
}

// With P = softmax(S), dP = do v^T:  dS = P (dP - rowsum(do o)),  dq = dS k,  dk = dS^T q,  dv = P^T do.
void attention_grad(const Call& call) {
  const auto& op = call.as<AttentionGrad>();
  const Tensor &q = call.x(0), &k = call.x(1), &v = call.x(2), &o = call.x(3), &lse = call.x(4), &dout = call.x(5);
  Tensor &dq = call.y(0), &dk = call.y(1), &dv = call.y(2);
  for (Tensor* gradient : call.out) *gradient = Tensor(gradient->shape);
  const double scale = 1 / std::sqrt(static_cast<double>(op.head_dim));
  for_each_head(q, k, op.seq, op.head_dim, [&](const Head& head) {
    for (int64_t t = 0; t < op.seq; ++t) {
      const int64_t row = head.row + t;
      double delta = 0;
      for (int64_t d = 0; d < op.head_dim; ++d) delta += dout(row, head.q_column + d) * o(row, head.q_column + d);
      for (int64_t s = 0; s <= t; ++s) {
        const double p = std::exp(score(q, k, head, t, s, op.head_dim) - lse(row, head.index));
        double dp = 0;
        for (int64_t d = 0; d < op.head_dim; ++d)
          dp += dout(row, head.q_column + d) * v(head.row + s, head.k_column + d);
        const double ds = p * (dp - delta) * scale;
        for (int64_t d = 0; d < op.head_dim; ++d) {
          dq(row, head.q_column + d) += ds * k(head.row + s, head.k_column + d);
          dk(head.row + s, head.k_column + d) += ds * q(row, head.q_column + d);
          dv(head.row + s, head.k_column + d) += p * dout(row, head.q_column + d);
        }
      }
    }
  });
}

}  // namespace

void add_attention_ops(std::map<std::string_view, ReferenceOp>& table) {
  table["rope"] = rope;
  table["rope_grad"] = rope;
  table["rope_at"] = rope_at;
  table["cached_attention"] = cached_attention;
  table["take_row"] = take_row;
  table["repeat_heads"] = repeat_heads;
  table["repeat_heads_grad"] = repeat_heads_grad;
  table["attention"] = attention;
  table["attention_grad"] = attention_grad;
}

}  // namespace trine::reference

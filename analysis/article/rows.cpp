#include "analysis/article/rows.h"

#include "base/error.h"

namespace trine {
namespace {

const ArticleRow& row_of(std::string_view id) {
  for (const auto rows : {hardware_rows(), training_rows(), inference_rows(), money_rows()})
    for (const ArticleRow& row : rows)
      if (row.id == id) return row;
  check_failed(__FILE__, __LINE__, "row_of", fmt::format("no row {}", id));
}

}  // namespace

std::string_view name(Verdict verdict) {
  constexpr std::string_view kNames[] = {"right", "rounded", "slip", "wrong input", "wrong model"};
  return kNames[static_cast<size_t>(verdict)];
}

std::vector<const ArticleRow*> article_rows() {
  std::vector<const ArticleRow*> all;
  for (const auto rows : {hardware_rows(), training_rows(), inference_rows(), money_rows()})
    for (const ArticleRow& row : rows) all.push_back(&row);
  return all;
}

double ArticleContext::recomputed(std::string_view id) const {
  const ArticleRow& row = row_of(id);
  TRINE_CHECK(row.recomputed != nullptr, "{} has no formula", id);
  return row.recomputed(*this);
}

double ArticleContext::realistic(std::string_view id) const {
  const ArticleRow& row = row_of(id);
  TRINE_CHECK(row.realistic != nullptr, "{} has no value of today", id);
  return row.realistic(*this);
}

double ArticleContext::printed(std::string_view id) const {
  const ArticleRow& row = row_of(id);
  if (row.recomputed == nullptr || &article == &published_) return row.value;
  const ArticleContext published(published_, published_, today);
  return row.value * recomputed(id) / published.recomputed(id);
}

}  // namespace trine

#include "data/datasets.h"

#include "base/error.h"
#include "data/default_text.h"
#include "data/prepared_info.h"
#include "data/token_file.h"

namespace trine {
namespace {

// The last part of `source` for validation, if the fraction is not 0.
Datasets split(const TokenSourcePtr& source, double valid_fraction) {
  const int64_t cut = num_train_tokens(source->size(), valid_fraction);
  if (cut == source->size()) return {source, nullptr};
  return {std::make_shared<TokenSlice>(source, 0, cut), std::make_shared<TokenSlice>(source, cut, source->size())};
}

void check_request(const DataRequest& request) {
  Problems problems;
  if (!(request.valid_fraction >= 0 && request.valid_fraction < 1)) {
    problems.add("data", "--valid-fraction is {}, need 0 <= fraction < 1.", request.valid_fraction);
  }
  if (!request.valid_data.empty() && request.valid_fraction > 0) {
    problems.add("data", "--valid-data and --valid-fraction are both given, need one. Leave one out.");
  }
  problems.throw_if_any();
}

}  // namespace

Datasets open_datasets(const DataRequest& request, const Tokenizer& tokenizer) {
  check_request(request);
  Datasets sets;
  if (!request.data.empty()) {
    for (const auto& path : request.data) check_prepared_with(path, tokenizer);
    sets = split(std::make_shared<TokenStream>(request.data, request.vocab_size), request.valid_fraction);
  } else if (request.random) {
    sets.train = std::make_shared<RandomTokens>(static_cast<int32_t>(request.vocab_size), request.seed);
  } else {
    sets = split(default_tokens(tokenizer, request.vocab_size),
                 request.valid_data.empty() ? kDefaultValidFraction : 0);
  }
  if (!request.valid_data.empty()) {
    check_prepared_with(request.valid_data, tokenizer);
    sets.valid = std::make_shared<TokenStream>(std::vector{request.valid_data}, request.vocab_size);
  }
  return sets;
}

}  // namespace trine

// Results as JSON values: what the page and correlation.json share.
#pragma once

#include <nlohmann/json.hpp>

#include "validate/correlation.h"

namespace memwall::validate {

nlohmann::ordered_json result_json(const Result& result);
nlohmann::ordered_json correlation_json(const std::vector<Result>& results, const Summary& summary);

}  // namespace memwall::validate

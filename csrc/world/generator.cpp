#include "world/generator.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace pyvqa::world {
namespace {

// Pre-order from the root, inputs left to right.
void add_prefix(const std::vector<ProgramNode>& program, std::vector<int16_t>& out) {
  std::vector<int8_t> waiting{static_cast<int8_t>(program.size() - 1)};
  while (!waiting.empty()) {
    const ProgramNode& node = program[static_cast<size_t>(waiting.back())];
    waiting.pop_back();
    out.push_back(node.function);
    for (const int8_t input : {node.inputs[1], node.inputs[0]})
      if (input >= 0) waiting.push_back(input);
  }
}

}  // namespace

Generator::Generator(std::vector<std::string> functions,
                     const std::vector<TemplateSource>& templates,
                     const std::map<std::string, std::vector<std::string>>& synonyms,
                     const GeneratorSettings& settings)
    : functions_(std::move(functions)), vocabulary_(synonyms), settings_(settings) {
  if (templates.empty()) throw std::invalid_argument("there are no templates");
  if (settings.per_scene < 1 || settings.block < 1)
    throw std::invalid_argument("per_scene and block must be positive");
  if (!(settings.search.trivial >= 0 && settings.search.trivial < 1))
    throw std::invalid_argument("trivial must lie in [0, 1)");
  for (size_t i = 0; i < templates.size(); ++i) {
    try {
      templates_.push_back(compile_template(templates[i], functions_, settings.search.expressions));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument("template " + std::to_string(i) + ": " + error.what());
    }
  }
}

Batch Generator::generate(const uint64_t* words, const int64_t* offsets, int64_t scenes,
                          uint64_t first, uint64_t seed) const {
  const auto block = static_cast<uint64_t>(settings_.block);
  if (first % block)
    throw std::invalid_argument("the first scene must begin a block of " + std::to_string(block));
  Batch out;
  std::vector<int64_t> uses;
  std::vector<AnswerBalance> balance;
  std::vector<size_t> order(templates_.size());
  for (int64_t s = 0; s < scenes; ++s) {
    const uint64_t image = first + static_cast<uint64_t>(s);
    if (image % block == 0) {
      uses.assign(templates_.size(), 0);
      balance.clear();
      for (const Template& t : templates_) balance.emplace_back(t.answers);
    }
    // Templates least used so far come first; equals in the order of the files.
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return uses[a] < uses[b]; });
    const SceneView scene(words + offsets[s]);
    int asked = 0;
    for (const size_t family : order) {
      if (asked == settings_.per_scene) break;
      Random search_random(seed, Stream::questions, image, static_cast<uint32_t>(family));
      Instance instance;
      Search search(templates_[family], functions_, scene, balance[family], settings_.search,
                    search_random);
      if (!search.run(instance)) continue;
      ++uses[family];
      balance[family].add(instance.answer);
      Random text_random(seed, Stream::wording, image, static_cast<uint32_t>(family));
      ask(instance, s, family, text_random, out);
      ++asked;
    }
  }
  return out;
}

void Generator::ask(const Instance& instance, int64_t scene, size_t family, Random& random,
                    Batch& out) const {
  out.scene.push_back(static_cast<int32_t>(scene));
  out.family.push_back(static_cast<int16_t>(family));
  out.answer.push_back(static_cast<int16_t>(instance.answer));
  out.text.push_back(write_text(templates_[family], instance.values, vocabulary_,
                                settings_.search.expressions, random));
  for (const ProgramNode& node : instance.program) {
    out.function.push_back(node.function);
    out.inputs.insert(out.inputs.end(), node.inputs.begin(), node.inputs.end());
    out.objects.push_back(node.outcome.kind == Kind::object ? uint64_t{1} << node.outcome.value
                                                            : node.outcome.set);
  }
  out.offsets.push_back(static_cast<int64_t>(out.function.size()));
  add_prefix(instance.program, out.prefix);
  out.prefix_offsets.push_back(static_cast<int64_t>(out.prefix.size()));
}

}  // namespace pyvqa::world

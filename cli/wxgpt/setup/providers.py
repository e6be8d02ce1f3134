"""Presets for model providers: the API's address, models, prices and where to get a key.

Names and prices were looked up in November 2026. Providers change both often, so `wxgpt init` asks
the server which models it offers, and shows where to check the prices.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from wxgpt.render import number
from wxgptd.untyped import Json
from wxgptd.wording import say

NO_THINKING = """\
# Answer without thinking first: WeChat waits 15 seconds.
extra_body = { thinking = { type = "disabled" } }"""


class Price(NamedTuple):
    """Prices per million tokens, in the provider's currency."""

    input: float
    output: float

    def __str__(self) -> str:
        return f"{number(self.input)}/{number(self.output)}"


CAUTIOUS = Price(4, 16)
"""More than most models cost: the bot pauses too early rather than too late."""


YUAN, DOLLARS = say("yuan"), say("US dollars")


class Provider(NamedTuple):
    """One provider. The first of `models`, by name, that the server offers is the default.

    `keys` is where to create API keys, or empty if none is needed. `prices` is its price list.
    `more` holds further lines for the assistant's table.
    """

    title: str
    base_url: str
    models: Mapping[str, Price] = MappingProxyType({})
    keys: str = ""
    prices: str = ""
    more: str = ""
    currency: str = YUAN

    def price_of(self, model: str) -> Price:
        """Return a model's price, or a cautious one if it is not known."""
        return self.models.get(model, CAUTIOUS)

    @property
    def settings(self) -> Json:
        """The further settings of the assistant, parsed."""
        return tomllib.loads(self.more)


PROVIDERS = {
    "deepseek": Provider(
        "DeepSeek 深度求索",
        "https://api.deepseek.com",
        # At peak hours, without the cache.
        {
            "deepseek-flash": Price(2, 8),
            "deepseek-v4-flash": Price(2, 8),
            "deepseek-v4-pro": Price(9, 27),
        },
        "https://platform.deepseek.com/api_keys",
        "https://api-docs.deepseek.com/zh-cn/quick_start/pricing",
        NO_THINKING,
    ),
    "qwen": Provider(
        "通义千问 Qwen",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        dict.fromkeys(("qwen-plus", "qwen-flash", "qwen-turbo"), CAUTIOUS),
        "https://bailian.console.aliyun.com/",
        "https://help.aliyun.com/zh/model-studio/model-pricing",
    ),
    "kimi": Provider(
        "Kimi (Moonshot)",
        "https://api.moonshot.cn/v1",
        {"moonshot-v1-auto": Price(10, 30), "moonshot-v1-32k": Price(5, 20), "kimi-k2.6": CAUTIOUS},
        "https://platform.moonshot.cn/console/api-keys",
        "https://platform.moonshot.cn/docs/pricing/chat",
    ),
    "glm": Provider(
        "智谱 GLM",
        "https://open.bigmodel.cn/api/paas/v4",
        dict.fromkeys(("glm-4.7-flash", "glm-5.3-flash", "glm-4-flash-250414"), CAUTIOUS),
        "https://open.bigmodel.cn/usercenter/apikeys",
        "https://open.bigmodel.cn/pricing",
        more=NO_THINKING,
    ),
    "doubao": Provider(
        "豆包 (火山方舟 Ark)",
        "https://ark.cn-beijing.volces.com/api/v3",
        {},
        "https://console.volcengine.com/ark",
        "https://www.volcengine.com/docs/82379/1544106",
    ),
    "siliconflow": Provider(
        "硅基流动 SiliconFlow",
        "https://api.siliconflow.cn/v1",
        dict.fromkeys(
            ("Qwen/Qwen2.5-7B-Instruct", "deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3"),
            CAUTIOUS,
        ),
        "https://cloud.siliconflow.cn/account/ak",
        "https://siliconflow.cn/pricing",
    ),
    "openai": Provider(
        "OpenAI",
        "https://api.openai.com/v1",
        {"gpt-6-luna": Price(0.1, 0.5), "gpt-4o-mini": Price(0.15, 0.6)},
        "https://platform.openai.com/api-keys",
        "https://openai.com/api/pricing",
        currency=DOLLARS,
    ),
    "openrouter": Provider(
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        dict.fromkeys(("openai/gpt-6-luna", "openai/gpt-4o-mini", "openrouter/auto"), CAUTIOUS),
        "https://openrouter.ai/keys",
        "https://openrouter.ai/models",
        currency=DOLLARS,
    ),
    "mistral": Provider(
        "Mistral",
        "https://api.mistral.ai/v1",
        dict.fromkeys(("mistral-small-latest", "mistral-medium-latest"), CAUTIOUS),
        "https://console.mistral.ai/api-keys",
        "https://mistral.ai/pricing",
        currency=DOLLARS,
    ),
    "azure": Provider(
        "Azure OpenAI",
        "",
        dict.fromkeys(("gpt-6-luna", "gpt-4o-mini"), CAUTIOUS),
        "https://portal.azure.com/",
        "https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/",
        more='auth = "api-key"',
        currency=DOLLARS,
    ),
    "ollama": Provider(
        "Ollama, on this machine",
        "http://127.0.0.1:11434/v1",
        dict.fromkeys(("qwen2.5:7b", "qwen3:8b"), CAUTIOUS),
    ),
    "vllm": Provider("vLLM, on this machine", "http://127.0.0.1:8000/v1"),
    "other": Provider(
        "another provider (one-api, LiteLLM, …)",
        "",
        keys="your provider's website",
        currency=say("your provider's currency"),
    ),
}

"""Presets for model providers: the API's address and a default model."""

from __future__ import annotations

from typing import NamedTuple


class Provider(NamedTuple):
    """One provider. `model` is the default, or empty if there is none.

    `keys` is where to create API keys, or empty if none is needed. `more` holds further lines for
    the assistant's table.
    """

    title: str
    base_url: str
    model: str
    keys: str = ""
    more: str = ""


PROVIDERS = {
    "deepseek": Provider(
        "DeepSeek 深度求索",
        "https://api.deepseek.com",
        "deepseek-chat",
        "https://platform.deepseek.com/api_keys",
    ),
    "qwen": Provider(
        "通义千问 Qwen",
        "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "qwen-plus",
        "https://bailian.console.aliyun.com/",
    ),
    "kimi": Provider(
        "Kimi (Moonshot)",
        "https://api.moonshot.cn/v1",
        "moonshot-v1-auto",
        "https://platform.moonshot.cn/console/api-keys",
    ),
    "glm": Provider(
        "智谱 GLM",
        "https://open.bigmodel.cn/api/paas/v4",
        "glm-4-flash",
        "https://open.bigmodel.cn/usercenter/apikeys",
    ),
    "doubao": Provider(
        "豆包 (火山方舟 Ark)",
        "https://ark.cn-beijing.volces.com/api/v3",
        "",
        "https://console.volcengine.com/ark",
    ),
    "siliconflow": Provider(
        "硅基流动 SiliconFlow",
        "https://api.siliconflow.cn/v1",
        "Qwen/Qwen2.5-7B-Instruct",
        "https://cloud.siliconflow.cn/account/ak",
    ),
    "openai": Provider(
        "OpenAI",
        "https://api.openai.com/v1",
        "gpt-4o-mini",
        "https://platform.openai.com/api-keys",
    ),
    "openrouter": Provider(
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "openai/gpt-4o-mini",
        "https://openrouter.ai/keys",
    ),
    "mistral": Provider(
        "Mistral",
        "https://api.mistral.ai/v1",
        "mistral-small-latest",
        "https://console.mistral.ai/api-keys",
    ),
    "azure": Provider(
        "Azure OpenAI",
        "",
        "gpt-4o-mini",
        "https://portal.azure.com/",
        'auth = "api-key"',
    ),
    "ollama": Provider("Ollama, on this machine", "http://127.0.0.1:11434/v1", "qwen2.5:7b"),
    "vllm": Provider("vLLM, on this machine", "http://127.0.0.1:8000/v1", ""),
    "other": Provider(
        "another provider (one-api, LiteLLM, …)",
        "",
        "",
        "your provider's website",
    ),
}

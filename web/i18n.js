// The texts of the page, in English and Chinese; the browser's preferred one of the two is used.

const en = {
    tagline: 'A small model, on your own machine',
    greeting: 'What can I help with?',
    examples: [
        'Write a Python function that checks whether a word is a palindrome',
        'Explain in three sentences why the sky is blue',
        'Draft a short, friendly email asking for a day off',
        'Translate into Chinese: “The wind is gentle today.”',
    ],
    examplesLabel: 'Examples',
    messageLabel: 'Your message',
    placeholder: 'Ask anything',
    hint: 'A small model can be wrong. What you write stays on this server.',
    send: 'Send',
    stop: 'Stop',
    newChat: 'New chat',
    settings: 'Settings',
    theme: 'Switch between light and dark',
    toLatest: 'To the latest text',
    you: 'You',
    assistant: 'Answer',
    conversation: 'Conversation',
    copy: 'Copy',
    copied: 'Copied',
    notCopied: 'Could not copy',
    copyCode: 'Copy code',
    copyMessage: 'Copy message',
    again: 'Answer again',
    retry: 'Try again',
    connecting: 'Sending',
    queue: 'Waiting in queue (place {place})',
    queueSeconds: 'Waiting in queue (place {place}, about {seconds} s)',
    prefill: 'Reading the prompt {percent} %',
    thinking: 'Thinking',
    stopped: 'Stopped',
    length: 'Ended at the length limit',
    repetition: 'Ended: it only repeated itself',
    rate: '{rate} tokens/s',
    firstText: 'first text after {seconds} s',
    tokens: '{count} tokens',
    answered: 'Answer: {text}',
    started: 'The answer is being written.',
    loading: 'The model is loading',
    loadingShare: '{stage} {percent} %',
    downloading: 'Downloading the model',
    packing: 'Preparing the model for this computer (only once)',
    reading: 'Reading the model',
    measuring: 'Measuring how fast this computer is, once',
    offline: 'Not connected',
    errorUnreachable: 'The server cannot be reached. Is it running, and are you on its network?',
    errorInterrupted: 'The connection was lost before the answer was complete.',
    errorBusy: 'The server is busy. Try again in about {seconds} s.',
    errorBusySoon: 'The server is busy. Try again in a moment.',
    errorLoading: 'The model is still being loaded. Try again in a moment.',
    errorContext: 'This conversation has become too long for the model. Start a new chat.',
    errorServer: 'The server answered: {message}',
    errorStatus: 'The server answered with status {status}.',
    temperature: 'Temperature',
    temperatureHelp: '0 gives the same answer each time; more gives more variety.',
    maxTokens: 'Longest answer, in tokens',
    system: 'System prompt',
    systemHelp: 'How the assistant should behave. Empty: as the model was made.',
    save: 'Save',
    cancel: 'Cancel',
    reset: 'Defaults',
    keyTitle: 'API key',
    keyHelp: 'This server asks for a key. It is kept until you close this tab.',
    keyWrong: 'The server did not accept this key.',
    continue: 'Continue',
};

const zh = {
    tagline: '小模型，就在你自己的机器上',
    greeting: '有什么可以帮你的？',
    examples: [
        '写个 Python 函数，判断一个单词是不是回文',
        '用三句话解释天空为什么是蓝色的',
        '帮我写一封简短、友好的请假邮件',
        '翻译成英文：今天的风很温柔。',
    ],
    examplesLabel: '示例',
    messageLabel: '你的消息',
    placeholder: '想问什么都可以',
    hint: '小模型也会出错。你写的内容只留在这台服务器上。',
    send: '发送',
    stop: '停止',
    newChat: '新对话',
    settings: '设置',
    theme: '切换浅色与深色',
    toLatest: '回到最新内容',
    you: '你',
    assistant: '回答',
    conversation: '对话',
    copy: '复制',
    copied: '已复制',
    notCopied: '复制失败',
    copyCode: '复制代码',
    copyMessage: '复制消息',
    again: '重新回答',
    retry: '重试',
    connecting: '正在发送',
    queue: '排队中（第 {place} 位）',
    queueSeconds: '排队中（第 {place} 位，约 {seconds} 秒）',
    prefill: '正在读取提示 {percent} %',
    thinking: '正在思考',
    stopped: '已停止',
    length: '已达到长度上限',
    repetition: '内容一直重复，已提前结束',
    rate: '{rate} 词元/秒',
    firstText: '{seconds} 秒后出字',
    tokens: '{count} 个词元',
    answered: '回答：{text}',
    started: '正在写回答。',
    loading: '模型加载中',
    loadingShare: '{stage} {percent} %',
    downloading: '正在下载模型',
    packing: '正在为这台电脑准备模型（仅一次）',
    reading: '正在读取模型',
    measuring: '正在测量这台电脑的速度（仅一次）',
    offline: '未连接',
    errorUnreachable: '无法连接服务器。它在运行吗？你和它在同一个网络里吗？',
    errorInterrupted: '回答还没写完，连接就断开了。',
    errorBusy: '服务器正忙，请约 {seconds} 秒后再试。',
    errorBusySoon: '服务器正忙，请稍后再试。',
    errorLoading: '模型还在加载，请稍后再试。',
    errorContext: '对话太长，模型已放不下。请开始新对话。',
    errorServer: '服务器的答复：{message}',
    errorStatus: '服务器返回状态 {status}。',
    temperature: '温度',
    temperatureHelp: '0 表示每次回答都一样；数值越大，变化越多。',
    maxTokens: '回答的最大长度（词元）',
    system: '系统提示词',
    systemHelp: '告诉助手该怎样回答。留空则按模型的默认方式。',
    save: '保存',
    cancel: '取消',
    reset: '恢复默认',
    keyTitle: 'API 密钥',
    keyHelp: '此服务器需要密钥。密钥只保留到你关闭这个标签页。',
    keyWrong: '服务器没有接受这个密钥。',
    continue: '继续',
};

const preferred = navigator.languages.find((tag) => /^(?:zh|en)\b/i.test(tag)) ?? 'en';
const words = preferred.toLowerCase().startsWith('zh') ? zh : en;

export const examples = words.examples;

/** Returns the text of that name, with {values} filled in. */
export function t(name, values = {}) {
    return words[name].replace(/\{(\w+)\}/g, (_, key) => String(values[key]));
}

/** Fills the texts into the elements of index.html that name them. */
export function translatePage() {
    document.documentElement.lang = words === zh ? 'zh-CN' : 'en';
    for (const element of document.querySelectorAll('[data-text]')) {
        element.textContent = t(element.dataset.text);
    }
    for (const element of document.querySelectorAll('[data-label]')) {
        element.setAttribute('aria-label', t(element.dataset.label));
        if (element.matches('button')) element.title = t(element.dataset.label);
    }
    for (const element of document.querySelectorAll('[data-placeholder]')) {
        element.placeholder = t(element.dataset.placeholder);
    }
}

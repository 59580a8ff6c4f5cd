"""
What one asks for, in many languages: a word -> the concept it names, so that what is learnt from English holds for Turkish.

The entries are words folded to lower case, as `features.tokens` gives them (pairs of characters for Chinese, Japanese and Thai). An entry that
ends in `*` is the beginning of a word, of 4 to 6 letters. A word that means something else in another language is left out rather than
guessed: the words beside it are seen as well.
"""

from typing import Final

_ENTRIES: Final[dict[str, str]] = {
    "translate": "translat* traduc* traduis* traduz* tradui* übersetz* vertaal* przetłu* tłumac* перев* переклад* çevir* terjem* ترجم ترجمة ترجمه अनुवाद"
    " 翻译 翻訳 번역 번역해 번역해줘 번역해주세요 แป แปล ปล dịch översä* oversæ* oversett* přelož* prelož* traduci traducere μεταφρ* תרגם תרגמי tafsiri kääntä* käänn* fordít* অনুবাদ மொழிபெ*",
    "language": "english spanish french german italian portuguese russian chinese japanese korean arabic hindi turkish polish dutch inglés español francés alemán italiano"
    " anglais espagnol français allemand italien englisch* spanisch* französ* deutsch* inglese spagnolo francese tedesco inglês espanhol francês alemão engels spaans"
    " frans duits angiel* hiszpań* niemie* французс* англий* немецк* испанс* англійс* ingiliz* ispany* fransız* almanca inggris spanyol prancis jerman الإنجليزية"
    " الفرنسية العربية अंग्रेज़ी अंग्रेजी हिंदी 英文 英语 中文 法语 德语 日语 英語 中国 日本 영어 영어로 한국어 한국어로 불어 nglish anh engelska svenska englez* anglič* αγγλικά אנגלית kiingereza englann* angol*",
    "summarize": "summar* tldr resum* résum* zusamm* riassu* samenv* streść* podsum* streszc* кратко резюм* підсум* стисл* özetle* özet ringkas* rangkum* لخص تلخيص ملخص خلاصه सारांश"
    " 总结 摘要 概括 要約 要点 まと 요약 요약해 요약해줘 요약해주세요 สรุ รุป tóm tắt sammanf* sammenf* opsumm* oppsum* shrn* zhrň* rezum* περίλη* סכם סיכום muhtasari tiivis* foglal* összef* সারাংশ சுருக்*",
    "write": "write writing draft compose escrib* redact* écris écrire rédig* schreib* verfas* escrev* redij* scriv* schrijf* napisz напиши напишите составь написать напиши* напишіть yaz yazar"
    " yazın tulis* tuliska* buatk* اكتب اكتبي بنویس بنویسید लिख* 写一 写一篇 写一个 撰写 编写 写封 写首 書い 書く 書き 作成 써줘 써주세요 작성해 작성해줘 작성해주세요 เขี ขีย viết soạn skriv napiš napíš scrie γράψε כתוב כתבי andika kirjoi* írj লিখ* எழுத*",
    "poem": "poem* poetry haiku sonnet rhyme lyric* poema poesía poème gedicht* poesia gedicht wiersz* стих* вірш* şiir puisi sajak قصيدة شعر कविता 诗歌 首诗 的诗 作诗 俳句 시를 thơ dikt digt báseň báseň poezie"
    " ποίημα שיר shairi runo verset কবিতা கவிதை",
    "story": "story stories tale novel fiction cuento historia relato histoire conte geschi* märchen conto história racconto storia verhaal opowia* bajk* рассказ* сказк* історі* казк* hikaye masal"
    " cerita dongeng قصة داستان कहानी 故事 小说 物語 小説 이야기 이야기를 소설 นิ นิท ิทาน truyện berättel* historie povíd* príbeh poveste ιστορία סיפור hadithi tarina novell* গল্প கதை",
    "letter": "email e-mail mail letter memo message correo carta courriel lettre brief e-mail e-posta lettera messaggio wiadom* письм* лист surat pesan رسالة بريد نامه ईमेल पत्र 邮件 信件 一封 封信 メール 手紙 이메일"
    " 이메일을 편지 อีเ จดห thư brev dopis mejl scrisoare επιστο* מייל מכתב barua sähköp* kirje levél emailt",
    "essay": "essay article blog speech post headline slogan tweet advert* press caption ensayo artículo discurso redacción rédaction discours aufsatz artikel rede redação artigo tema saggio articolo discorso opstel"
    " toespraak esej artykuł przemów* эссе статья статью сочин* речь пост есе стаття стаття makale deneme yazısı konuşma artikel esai pidato مقال مقالة خطاب निबंध लेख भाषण 文章 作文 演讲 文案 广告 标题 记事 記事 スピ エッ 에세이 기사"
    " 연설문 เร เรี ียง บท bài artikel tal článek eseu discurs άρθρο מאמר נאום insha essee cikk প্রবন্ধ",
    "rewrite": "rewrite reword rephr* paraph* improve polish shorten proofr* grammar typo* typos spelling correct formal polite corrige reescr* mejora parafr* reform* corrig* amélio* korrig* umform* umschr*"
    " verbess* formul* höflic* reescre* melhor* riscri* correg* miglio* herschr* verbet* popraw przere* przefo* исправ* перефр* перепи* улучши виправ* перефо* düzelt* yeniden perbai* koreks* صحح أعد صياغة اصلاح"
    " सुधार* ठीक 改写 修改 润色 纠正 编辑 改成 校对 改为 語法 言い 校正 修正 添削 丁寧 고쳐 고쳐줘 수정해 수정해줘 แก้ ปรั sửa viết lại omformu* rätta förbä* ret omskriv* rett oprav* přepi* upravi* corect* rescrie διόρθω* תקן שכתב"
    " rekebisha korjaa javíts* fogalma* সংশোধন திருத்*",
    "extract": "extract passage excerpt according extrae extraer extraire extrais extrah* estrai extrai* wyodręb* wypisz извлек* выдел* витяг* çıkar ekstrak استخرج निकाल* 提取 抽取 找出 列出 抽出 추출 추출해 추출해줘 ดึง trích"
    " extrahe* uddrag udtræk trekk vytáhn* extrage εξάγ* חלץ toa poimi kinyer* নিষ্কাশ*",
    "text": "text paragraph article document passage following texto siguiente párrafo texte suivant suivante paragr* folgen* absatz textabs* seguinte seguinte parágr* testo seguente paragrafo volgende tekst alinea"
    " tekstu następu* текст* следую* отрывк* наступн* metin metni metinde aşağıd* teks berikut paragraf النص التالي التالية متن زیر पाठ निम्न* अनुच्छेद 以下 下面 文本 段落 文章 本文 次の 文を 文章 다음 글에서 문장 ข้อ nội đoạn sau följan*"
    " følgen* následu* nasled* următo* κείμενο הבא הטקסט ifuatayo seuraav* következ* নিচের",
    "classify": "classi* categor* sentim* label spam positive negative neutral clasif* positiv* negativ* klassif* einord* ordne stimmung kategor* classif* sklasy* określ классиф* тональ* определи позитив* негатив* класиф* визнач* sınıfl*"
    " duygu olumlu olumsuz klasif* sentimen صنف تصنيف مشاعر دسته वर्गीक* सकारात्* नकारात्* 分类 情感 类别 归类 判断 判定 分類 感情 ポジ ネガ 분류 분류해 분류해줘 긍정인지 감정 จำแ ประเ phân loại tích cực tiêu kategor* zařaď clasi* ταξινό* סווג"
    " ainisha luokit* osztály* শ্রেণী* বகை",
    "actas": "pretend roleplay role-play impersonate imagine actúa finge imagina eres joue incarne imagin* tu es spiel stell du bist finja aja atue interpr* fingi immagina sei recita doe alsof bent udawaj wciel jesteś представь"
    " сыграй притвор* веди ты уяви грай ти sen rol yap davran* berper* anggap kamu تصرف تخيل أنت تظاهر नाटक कल्पना तुम आप 扮演 假装 你是 你现 假设 角色 なり 演じ あな 役 당신은 너는 역할 연기해 연기해줘 척 สวม สมม hãy đóng bạn là låtsas agera"
    " lad dig som jsi hraj prefă-te ești προσποι* είσαι תעמיד אתה jifanye wewe ni teeskentel* olet te egy tégy ভান",
    "calculate": "calcul* compute solve equation percent* percentage fraction sum total area probab* price cost average resuelve ecuación calcula cuánto cuántos cuántas porcent* suma résous équation combien pourcen* berech* rechne löse"
    " gleich* wie viel viele prozent resolva equação quanto quantos quantas risolvi equazi* quanti bereken los op vergelij* hoeveel oblicz rozwią* równan* ile procent вычисл* реши сколько уравн* процент* посчит* обчисл* розв'яж*"
    " скільки рівнян* hesapla* çöz denklem kaç yüzde hitung* selesa* persam* berapa persen احسب حل معادلة كم حساب محاسبه चوند गणना हल समीकरण कितने कितना कितनी प्रतिशत 计算 求解 方程 多少 几个 百分 求出 计算 方程式 解い いく 何個 合計 計算 계산"
    " 계산해 계산해줘 방정식 얼마 몇 คำน จง กี่ เท่ tính giải phương trình bao nhiêu beräkna lös räkna beregn løs hvor mange vypoč* vyřeš rovnic* kolik calcule* rezolv* ecuaț* cât câte υπολό* λύσε πόσα חשב פתור כמה hesabu kokotoa ngapi jumla"
    " laske ratkai* yhtälö kuinka monta számít* mennyi hány egyenl* গণনা কত கணக்* எத்தனை",
    "logic": "logic* puzzle riddle deduc* deduce infer syllogism premise knights liar lógic* acertijo adivin* deduz* logiq* énigme devine* rätsel logis* schlus* enigma indovin* raadsel zagadk* логич* загадк* логіч* mantık bilmece logika teka-t*"
    " لغز منطق पहेली तर्क 逻辑 推理 谜语 推断 論理 推論 なぞ 추론 추론해 논리 수수께끼 ตรร ปริ suy luận đố logik gåta gåde gáte hádank* ghicit* γρίφος חידה fumbo arvoitus rejtvény ধাঁধা",
    "code": "code python javascript java sql html css c++ bash regex function script program programm* algorithm api código función funct* fonction script funktion skript função funzione codice functie kod kodu funkcj* skrypt код функци* скрипт*"
    " програм* функці* fonksiyon kodu program fungsi kode كود برنامج دالة کد تابع कोड प्रोग्राम फ़ंक्शन 代码 函数 程序 脚本 编程 算法 コー 関数 プロ スク 코드 코드를 함수 함수를 프로그램 โค้ ฟัง mã hàm chương trình kód funkce skript funcție"
    " κώδικα συνάρτ* קוד פונקציה msimbo koodi funktio függvény kódot কোড ফাংশন",
    "what": "what qué cuál quoi quel quelle was o que qual cosa che quale wat co jaki jaka что какой какая какие що який яка ne nedir hangi apa apakah ما ماذا چیست چه क्या कौन 什么 是什 哪些 何で とは どん 何 뭐 무엇 무엇인가요 뭐야 무슨 อะไ คือ gì là gì vad hvad hva"
    " co je care ce τι ποιο מה מהו nini mikä mitä mi a কি কী என்ன",
    "who": "who quién qui wer quem chi wie kto кто хто kim siapa من کیست कौन 谁 是谁 誰 누구 누가 ใคร ai vem hvem kdo cine ποιος מי nani kuka ki কে யார்",
    "when": "when cuándo quand wann quando wanneer kiedy когда коли zaman kapan متى کی कब 何时 什么时候 年份 いつ 언제 เมื bao giờ när hvornår når kdy când πότε מתי lini milloin mikor কখন",
    "where": "where dónde où wo onde dove waar gdzie где де nerede mana أين کجا कहाँ 哪里 在哪 どこ 어디 ไหน đâu var hvor kde unde πού איפה wapi missä hol কোথায়",
    "why": "why por qué pourquoi warum wieso weshalb perché waarom dlaczego почему зачем чому neden niçin mengapa kenapa لماذا چرا क्यों 为什 为何 なぜ どう 왜 ทำไ tại sao varför hvorfor proč prečo ce γιατί למה מדוע kwa nini miksi miért কেন",
    "explain": "explain describ* define meaning explica explique describe significa expliq* décris définis erklär* beschr* bedeut* explic* descrev* spiega descriv* leg uit beschrij* wyjaśnij opisz объясн* опиши* поясн* açıkla* anlat jelask* اشرح"
    " وضح توضیح समझा* बताइए 解释 介绍 说明 描述 阐述 説明 教え 설명 설명해 설명해줘 설명해주세요 อธิ giải thích förkl* forkl* vysvět* vysvetl* explică εξήγησε הסבר eleza selit* magyar* ব্যাখ্যা விளக்*",
    "difference": "differ* versus vs compare compar* diferen* différ* unters* differen* verschil różnic* разниц* сравни отлич* різниц* порівн* fark* karşıl* perbed* banding* الفرق قارن تفاوت अंतर तुलना 区别 比较 不同 对比 違い 比較 차이"
    " 차이점 비교해 ต่าง เปรี khác so sánh skilln* forskel* forskjell rozdíl* rozdiel difer* διαφορά הבדל tofauti ero eroa különb* পার্থক্য",
    "recommend": "recomm* suggest* tips advice ideas idea recomi* sugier* sugg* consej* ideas suger* conseil* conseille idée* recomm* empfiehl* empfeh* tipps vorsch* ideen recomend* sugira dicas ideias sugest* consig* suggeri* idee aanbev* tips"
    " poleć polec* porad* pomysł* посов* совет* рекоменд* идеи предло* порад* ідеї запроп* öner* tavsiye fikir saran* rekomen* ide saran انصح نصائح اقترح أفكار پیشنهاد توصیه सुझाव सलाह 建议 推荐 想法 主意 提供 おす 提案 アイ 勧め 추천"
    " 추천해 추천해줘 추천해주세요 조언 아이디어 แนะ gợi ý lời khuyên rekomme* tips råd anbef* doporu* odporú* tipy recoma* sfatur* σύστησε συμβουλ* המלץ עצות טיפים pendekeza ushauri suosit* neuvo vinkke* ajánl* tanács* ötlet* পরামর্শ பரிந்*",
    "plan": "plan planning schedule itinerary routine recipe workout planif* itiner* receta rutina recette programme plane trainin* rezept reise* plano receita roteiro ricetta viaggio dieta recept przepis trening план* рецепт* маршру* путеш* подорож*"
    " tarifi planla* seyahat rencana resep jadwal خطة وصفة رحلة برنامه दिनचर्या योजना रेसिपी यात्रा 计划 方案 旅行 食谱 菜谱 行程 计画 計画 レシ 旅行 계획 여행 레시피 แผน ท่อง kế hoạch du lịch công thức plán cestu rețetă plan συνταγή σχέδιο"
    " מתכון תוכנית mpango suunni* resepti terv পরিকল্পনা",
    "howto": "how cómo comment wie como come hoe jak как як nasıl bagaimana cara كيف چگونه कैसे 如何 怎么 怎样 方法 どう 方法 やり 어떻게 방법 ยัง อย่ cách làm thế nào hur hvordan jak ako cum πώς איך jinsi miten hogyan কিভাবে எப்படி",
    "should": "should worth debo debería dois devrais soll sollte devo deveria dovrei moet czy powin* стоит лучше варто meli* gerek* haruskah sebaik* هل أفضل باید चाहिए 应该 值得 合适 べき 해야 좋을까 좋을까요 ควร có nên nên borde bør skal měl* trebuie πρέπει"
    " כדאי je nibidi pitäis* kellene উচিত",
    "greet": "hi hello hey hola buenas buenos salut bonjour bonsoir coucou hallo moin servus olá oi bom ciao buongi* hoi goedem* cześć dzień hej привет здравст* добрый привіт вітаю merhaba selam halo hai selamat مرحبا السلام أهلا سلام नमस्ते हैलो"
    " 你好 您好 早上 晚上 こん おは 今日 안녕 안녕하세요 สวั สวัส xin chào hejsan hei ahoj dobrý bună salutare γεια שלום היי habari jambo moi szia helló নমস্কার ஹலோ வணக்கம்",
    "feel": "feel* lonely sad bored tired love today yourself estás sientes triste aburri* cansad* día seul triste ennuie fatigu* aujourd'hui fühl* traurig langwei* müde geht heute chateado cansado sinto stanco annoio oggi voel moe verveel"
    " smutn* nudzi dzisiaj czujesz груст* скучно устал* дела сегодня чувств* сумно нудно справи bugün nasılsın sıkıl* yorgun bosan sedih lelah kabar حالك أشعر حزين ملل حالت उदास बोर थक 心情 无聊 难过 今天 累了 你觉 寂し 疲れ 元気 気分 暇 심심해"
    " 외로워 피곤해 기분 오늘 เหงา เบื่ buồn chán mệt khỏe ledsen trött mår trist kjede* smutn* unaven* obosit plictis* κάνεις λυπημ* עצוב משעמם huzuni väsyn* tylsää hogy vagy মন",
    "thanks": "thanks thank gracias merci danke obrigad* grazie bedankt dank dzięki dzięku* спасибо дякую teşekk* sağol terima kasih شكرا ممنون धन्यवाद शुक्रिया 谢谢 感谢 あり 有難 고마워 감사합니다 ขอบ cảm ơn tack tak takk děkuji díky mulțum*"
    " ευχαρι* תודה asante kiitos köszön* ধন্যবাদ நன்றி",
    "table": "table list bullet* json csv xml tabla lista tableau liste tabelle tabela tabella elenco tabel lijst таблиц* список списо* tablo liste tabel daftar جدول قائمة لیست सूची तालिका 表格 列表 清单 一覧 表に 목록 표로 ตาร bảng danh sách tabulk* listă πίνακα"
    " טבלה רשימה jedwali orodha taulukko lista",
}


def _concepts() -> tuple[dict[str, str], dict[str, str]]:
    whole: dict[str, str] = {}
    begun: dict[str, str] = {}
    for concept, entries in _ENTRIES.items():
        for entry in entries.split():
            if entry.endswith("*"):
                begun.setdefault(entry[:-1][:6], f"@{concept}")
            else:
                whole.setdefault(entry, f"@{concept}")
    return whole, begun


WHOLE, BEGUN = _concepts()
"""Whole word -> concept, beginning of a word -> concept; a concept is a feature name `@...`."""
MOST_KEPT: Final = 20_000
LONGEST_KEPT: Final = 24


class _Concepts(dict[str, str]):
    """Word -> concept, "" where it names none. What was found out is kept for the first MOST_KEPT words of usual length: most words are common ones."""

    def __missing__(self, word: str) -> str:
        whole, begun = WHOLE.get, BEGUN.get
        found = whole(word) or (len(word) > 4 and (begun(word[:6]) or begun(word[:5]) or begun(word[:4]))) or ""
        if len(self) < MOST_KEPT and len(word) <= LONGEST_KEPT:
            self[word] = found
        return found


CONCEPT_OF: Final = _Concepts()

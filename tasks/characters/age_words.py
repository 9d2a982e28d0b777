"""Knows ages that are told without a digit: number words and words of life, in many languages."""

from __future__ import annotations

import re

_STEMS = (
    # Tens and teens may stand anywhere in a word: "neunundvierzig", "vijfenveertig", "femtifem".
    "zwanzig|drei(?:ß|ss)ig|vierzig|f[üu]nfzig|sechzig|siebzig|achtzig|neunzig"
    "|twintig|dertig|veertig|vijftig|zestig|zeventig|tachtig|negentig"
    "|tyve|tredive|tretti|f[øo]rti|fyrre|fyrti|femti|halvtreds|seksti|tresinds|sytti|halvfjerds"
    "|[åa]tti|firs|nitti|halvfems|tjug|trettio|sextio|sjuttio"
    "|tuttugu|[þt]r[jí]+t[íi]u|fj[öo]rut[íi]u|fimmt[íi]u"
    "|kymmen|toista|k[üu]mmend|teist|h[úu]sz|harminc|negyven|[öo]tven|hatvan|hetven|nyolcvan"
    "|kilencven|tizen"
    "|dvacet|t[řr]icet|[čc]ty[řr]icet|pades[áa]t|[šs]edes[áa]t|des[áa]t|n[áa]ct|dvadsa|tridsa"
    "|[šs]tyridsa|dzie[sś]|naście|nascie|dvadese|trideset|[čc]etrdeset|pedeset|dvajset|[šs]tirideset"
    "|desmit|de[šs]imt|zeci|dhjet|vint|trenta|quaranta|cinquanta|seixanta|setanta|vuitanta"
    "|dieci|dici(?:otto|annove|assette)|[st]edici|undici|dodici|quattordici|quindici"
    "|onze|douze|treize|quatorze|quinze|seize|once|doce|trece|catorce|veinti"
    "|ishirini|thelathini|arobaini|hamsini|sitini|sabini|themanini|tisini"
    "|puluh|belas|(?:na)?pu\u2019?'?t|limampu|animnapu|mươi|hogei|berrogei"
    "|yirmi|otuz|k[i\u0131]rk|elli|altm[i\u0131][şs]|yetmi[şs]|seksen|doksan"
)
_STARTS = (
    "teen|twent|thirt|fort|fift|sixt|sevent|eight|ninet|centur|year|month|adult|elder|old|young"
    "|middle|infant|child|ageless|immortal|timeless|eternal|ancient|newborn|toddler|retire|senior"
    "|one|two|three|four|five|six|nine|ten|eleven|twelve|vingt|trente|quarant|cinquant|soixant"
    "|drei|veint|treint|cuarent|cincuent|sesent|setent|ochent|novent|venti|trenta|sessant"
    "|settant|ottant|vinte|trinta|quarent|cinquent|tahun|jeune|jung|joven|giovane|jovem|vieux"
    "|vieille|alt|viejo|anzian|idos|adulte|adulto|erwachsen|voksen|vuxen|dorosł|dospěl|starsz"
    "|dojrzał|quadrag|quinquag|sexag|septuag|octog|nonag|centen"
)
_UNITS = (
    "ans|jahre?|a\u00f1os|anni|anos|anys|jaar|lat|let|ya\u015f|\u00e5r|tu\u1ed5i"
    "|éves|roků|rokov|vuotta|metų|gadi|aastat|vjeç"
)
_WORDS = re.compile(
    rf"(?:{_STEMS})|\b(?:{_STARTS})|\b(?:{_UNITS})\b|genarian|g[ée]n[aá]i?r", re.IGNORECASE
)
_ROMAN = re.compile(r"\s*(?=[IVXLC])C?(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\s*")
_LATIN_ENDS = "\u02ff"
_MORE_LATIN = ("\u1e00", "\u1eff")


def tells_age(text: str) -> bool:
    """Tell whether a text without digits may be an age.

    What is not in Latin letters no list of words can judge: it may.
    """
    if any(char.isalpha() and not _is_latin(char) for char in text):
        return True
    return _WORDS.search(text) is not None or _ROMAN.fullmatch(text) is not None


def _is_latin(char: str) -> bool:
    return char <= _LATIN_ENDS or _MORE_LATIN[0] <= char <= _MORE_LATIN[1]
